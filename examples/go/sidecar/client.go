// Package sidecar is a client of opencode-sidecar for a backend: it creates sessions, follows them over cut
// connections and restarts, goes on with what was interrupted, and stops what is not wanted any more.
//
// It needs nothing but the standard library. Copy it, and cut it to what you use.
package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client is one sidecar. It may be used by many goroutines.
type Client struct {
	// URL is its address, such as http://localhost:3003, with the path prefix of a proxy if there is one.
	URL string
	// Token is the shared secret; empty where none is set.
	Token string
	// Away is how long a sidecar may be away in the middle of a turn: as long as a pod takes to be replaced.
	// Zero means three minutes.
	Away time.Duration
	// HTTP makes the calls. It must have no Timeout, which would cut streams: calls have deadlines of their own.
	HTTP *http.Client
}

// Model is the model_config of a session. The API knows more fields; add those that you need.
type Model struct {
	Provider string   `json:"provider"`
	Model    string   `json:"model"`
	APIKey   string   `json:"api_key,omitempty"`
	Endpoint string   `json:"api_endpoint,omitempty"`
	Tools    []string `json:"enabled_tools,omitempty"`
	MaxCalls int      `json:"max_calls,omitempty"`
}

// Session is how a session is.
type Session struct {
	ID          string `json:"session_id"`
	Status      string `json:"status"`
	Turn        int    `json:"turn"`
	LastEventID string `json:"last_event_id"`
	// Failure is why a session has failed; nil if it has not.
	Failure *struct {
		Code     string `json:"code"`
		Sentence string `json:"error"`
	} `json:"error"`
}

// End is how the last turn ended, for whoever has no events of it left to read. What the agent said is in them alone.
func (s Session) End() End {
	end := End{Kind: s.Status, Turn: s.Turn, Cursor: s.LastEventID}
	switch s.Status {
	case "completed":
		end.Kind = "complete"
	case "failed":
		end.Kind = "error"
		if s.Failure != nil {
			// Whether it can go on says the answer to Resume.
			end.Code, end.Message, end.Resumable = s.Failure.Code, s.Failure.Sentence, true
		}
	}
	return end
}

// Error is what the sidecar refuses with. Code is stable, the sentence is for people.
type Error struct {
	Status   int
	Code     string `json:"code"`
	Sentence string `json:"error"`
	// Wait is how long the sidecar wants to be left alone before the next attempt.
	Wait time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (%d %s)", e.Sentence, e.Status, e.Code)
}

// Create begins a session. The same key and the same session make one session, however often it is called, so a
// call whose answer was lost can be made again: use the id of the task in your own database for both.
func (c *Client) Create(ctx context.Context, id, prompt string, model Model) (Session, error) {
	var session Session
	body := map[string]any{"session_id": id, "prompt": prompt, "model_config": model}
	err := c.patiently(ctx, func() error {
		return c.call(ctx, http.MethodPost, c.path("sessions"), body, &session, "Idempotency-Key", "create-"+id)
	})
	return session, err
}

// Status says how a session is.
func (c *Client) Status(ctx context.Context, id string) (Session, error) {
	var session Session
	err := c.call(ctx, http.MethodGet, c.path("sessions", id, "status"), nil, &session)
	return session, err
}

// Stop ends what runs in a session. It is no error if nothing does.
func (c *Client) Stop(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, c.path("sessions", id, "stop"), nil, nil)
}

// Resume has a session whose turn has ended go on where it was. The key comes along, because a sidecar that was
// restarted does not have it any more. That it goes on already is no error.
func (c *Client) Resume(ctx context.Context, id string, model Model) (Session, error) {
	var session Session
	err := c.patiently(ctx, func() error {
		return c.call(ctx, http.MethodPost, c.path("sessions", id, "resume"), map[string]any{"model_config": model}, &session)
	})
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusConflict {
		// An earlier attempt came through, and its answer was lost.
		if now, unknown := c.Status(ctx, id); unknown == nil && now.Status == "running" {
			return now, nil
		}
	}
	return session, err
}

// patiently repeats what the sidecar cannot do now, or what did not reach it.
func (c *Client) patiently(ctx context.Context, attempt func() error) error {
	since, pause := time.Now(), 500*time.Millisecond
	for {
		err := attempt()
		if err == nil || ctx.Err() != nil || !passes(err) || time.Since(since) > c.away() {
			return err
		}
		if refused := (*Error)(nil); errors.As(err, &refused) && refused.Wait > pause {
			pause = refused.Wait
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		pause = longer(pause)
	}
}

// call makes a request that is answered at once. Every one has a deadline: the longest, a creation, takes 20 s.
func (c *Client) call(ctx context.Context, method, address string, body, answer any, headers ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	response, err := c.send(ctx, method, address, reader, headers...)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

func (c *Client) send(ctx context.Context, method, address string, body io.Reader, headers ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		defer response.Body.Close()
		return nil, refusal(response)
	}
	return response, nil
}

func refusal(response *http.Response) error {
	refused := &Error{Status: response.StatusCode, Code: "none", Sentence: response.Status}
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err == nil {
		// What is none of ours, such as a page of a proxy, keeps the status line as its sentence.
		_ = json.Unmarshal(text, refused)
	}
	if wait, err := time.ParseDuration(response.Header.Get("Retry-After") + "s"); err == nil {
		refused.Wait = wait
	}
	return refused
}

// passes tells what another attempt may mend: no answer at all, or one that says "not now".
func passes(err error) bool {
	refused := (*Error)(nil)
	if !errors.As(err, &refused) {
		return true
	}
	switch refused.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (c *Client) path(parts ...string) string {
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.TrimRight(c.URL, "/") + "/" + strings.Join(parts, "/")
}

func (c *Client) away() time.Duration {
	if c.Away > 0 {
		return c.Away
	}
	return 3 * time.Minute
}

func longer(pause time.Duration) time.Duration {
	if pause *= 2; pause > 5*time.Second {
		pause = 5 * time.Second
	}
	return pause
}

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
