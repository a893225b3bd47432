package sidecar

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Silence is how long nothing may come before a connection counts as dead: the sidecar sends a heartbeat every 15 s.
const Silence = 45 * time.Second

// Event is one event of a session. Store its ID with what you make of it: a stream goes on behind it.
type Event struct {
	ID   string
	Kind string
	Data json.RawMessage
}

// End is how a turn ended.
type End struct {
	// Kind is complete, error or cancelled.
	Kind string
	// Message is the agent's last message, or the sentence of the error.
	Message string
	// Code is that of the error.
	Code string
	// Resumable tells whether the session can go on with Resume.
	Resumable bool
	// Turn is the number of the turn.
	Turn int
	// Cursor is the ID of the event that said so.
	Cursor string
}

// ErrNothingLeft is what a stream from the last event of an idle session gives.
var ErrNothingLeft = errors.New("the session is idle, and everything of it was seen")

// ErrGap is what Follow gives when events were lost between the cursor and what is kept. Begin again from "earliest".
var ErrGap = errors.New("events are missing between the cursor and what is kept")

// Follow gives every event behind the cursor to each, once and in order, and returns with the end of the turn.
// An empty cursor is the beginning of the session. Connections that are cut, and a sidecar that is restarted, are
// only waits.
func (c *Client) Follow(ctx context.Context, id, cursor string, each func(Event) error) (End, error) {
	away, pause := time.Time{}, 500*time.Millisecond
	for {
		next, end, err := c.read(ctx, id, cursor, each)
		if end != nil {
			return *end, nil
		}
		if stopped := (*stop)(nil); errors.As(err, &stopped) {
			return End{}, stopped.cause
		}
		if ctx.Err() != nil {
			return End{}, ctx.Err()
		}
		if next != cursor || away.IsZero() {
			away, pause = time.Now(), 500*time.Millisecond
		}
		if cursor = next; !passes(err) || time.Since(away) > c.away() {
			return End{}, err
		}
		if !sleep(ctx, pause) {
			return End{}, ctx.Err()
		}
		pause = longer(pause)
	}
}

// stop is an error that another connection does not mend.
type stop struct{ cause error }

func (s *stop) Error() string { return s.cause.Error() }

// read reads one connection: how far it came, and the end of the turn if that was part of it.
func (c *Client) read(ctx context.Context, id, cursor string, each func(Event) error) (string, *End, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The head of the answer comes at once too.
	quiet := time.AfterFunc(Silence, cancel)
	defer quiet.Stop()
	headers := []string{}
	if cursor != "" {
		headers = []string{"Last-Event-ID", cursor}
	}
	response, err := c.send(ctx, http.MethodGet, c.path("sessions", id, "stream"), nil, headers...)
	if err != nil {
		return cursor, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent {
		return cursor, nil, &stop{ErrNothingLeft}
	}
	frames := reader{bufio.NewReaderSize(response.Body, 64<<10)}
	for {
		event, err := frames.next()
		if err != nil {
			return cursor, nil, err
		}
		quiet.Reset(Silence)
		if event.Kind == "gap" {
			return cursor, nil, &stop{ErrGap}
		}
		if event.ID != "" {
			// A block that holds an id alone moves the cursor past what is not shown.
			cursor = event.ID
		}
		if event.ID == "" || event.Data == nil {
			continue
		}
		if err := each(event); err != nil {
			return cursor, nil, &stop{err}
		}
		if end := ending(event); end != nil {
			return cursor, end, nil
		}
	}
}

// ending is the end of the turn, if the event is that.
func ending(event Event) *End {
	var data struct {
		Status, Error, Code string
		Message             string `json:"final_message"`
		Fatal, Resumable    bool
		Turn                int
	}
	if json.Unmarshal(event.Data, &data) != nil {
		return nil
	}
	switch {
	case event.Kind == "complete":
		return &End{Kind: "complete", Message: data.Message, Turn: data.Turn, Cursor: event.ID}
	case event.Kind == "error" && data.Fatal:
		return &End{Kind: "error", Message: data.Error, Code: data.Code, Resumable: data.Resumable, Turn: data.Turn, Cursor: event.ID}
	case event.Kind == "status" && data.Status == "cancelled":
		return &End{Kind: "cancelled", Turn: data.Turn, Cursor: event.ID}
	}
	return nil
}

// reader takes server-sent events apart. No event of a sidecar has more than 256 KiB.
type reader struct{ *bufio.Reader }

const maxLine = 1 << 20

func (r reader) next() (Event, error) {
	var event Event
	for any := false; ; any = true {
		line, err := r.line()
		if err != nil {
			// What was cut in the middle comes again, whole, behind the cursor.
			return Event{}, err
		}
		if line == "" && any {
			return event, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			event.Kind = value
		case "id":
			event.ID = value
		case "data":
			event.Data = json.RawMessage(value)
		}
	}
}

func (r reader) line() (string, error) {
	var line []byte
	for {
		part, more, err := r.ReadLine()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		if line = append(line, part...); len(line) > maxLine {
			return "", &stop{fmt.Errorf("a line of more than %d bytes is none of a sidecar", maxLine)}
		}
		if !more {
			return string(line), nil
		}
	}
}
