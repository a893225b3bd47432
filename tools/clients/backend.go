// A copy of how the Go backend uses the sidecar: net/http and nothing else, 30 s for a call, streams read 4 KiB
// at a time and passed on as they come, and any answer to the stream call but 200 an error for its own client.
//
// Usage: backend read <stream's address>            passes one stream on
//
//	backend try <sidecar's address> <secret>   starts, streams, cuts, resumes and stops sessions
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// The backend's only client. Its limit counts the reading of a body too, so it cuts every stream after 30 s.
var client = &http.Client{Timeout: 30 * time.Second}

const limit = 30 * time.Second

// A backend that sends the token with POST only is what the first patch is for; one that knows no 204 the second.
type backend struct {
	base, secret        string
	tokenOnStream, ends bool
}

// What the backend's own client gets: the sidecar's bytes, and an error where the backend sees one.
type own struct {
	bytes.Buffer
	failed string
}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "read":
		read(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "try":
		try(&backend{base: os.Args[2], secret: os.Args[3], tokenOnStream: true, ends: true})
	default:
		fail("usage: backend read <address> | backend try <address> <secret>")
	}
}

func read(url string) {
	response, err := http.Get(url)
	if err != nil || response.StatusCode != http.StatusOK {
		fail("%v %v", response, err)
	}
	defer response.Body.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := response.Body.Read(buffer)
		os.Stdout.Write(buffer[:n])
		if err != nil {
			return
		}
	}
}

// === the backend's calls ===

func (b *backend) call(method, path, body string, want int) map[string]any {
	request, err := http.NewRequest(method, b.base+path, strings.NewReader(body))
	if err != nil {
		fail("%s %s: %v", method, path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+b.secret)
	begun := time.Now()
	response, err := client.Do(request)
	if err != nil {
		fail("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		text, _ := io.ReadAll(response.Body)
		fail("%s %s is %d, not %d: %s", method, path, response.StatusCode, want, text)
	}
	if took := time.Since(begun); took > limit/2 {
		fail("%s %s took %s", method, path, took)
	}
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		fail("%s %s: %v", method, path, err)
	}
	return answer
}

func (b *backend) start(id, script string) {
	body, _ := json.Marshal(map[string]any{
		"session_id": id, "prompt": "```script\n" + script + "\n```",
		"model_config": map[string]any{"provider": "demo", "model": "demo", "api_key": "", "max_tokens": 4096.0},
	})
	answer := b.call(http.MethodPost, "/sessions", string(body), http.StatusCreated)
	remote, _ := answer["remote_session_id"].(string)
	if answer["session_id"] != id || answer["status"] != "running" || remote == "" {
		fail("start of %s: %v", id, answer)
	}
}

// stream passes a session's stream on until it ends, breaks, or until says that its client went away.
func (b *backend) stream(id, cursor string, until func(*own) bool) *own {
	to := &own{}
	request, err := http.NewRequest(http.MethodGet, b.base+"/sessions/"+id+"/stream", nil)
	if err != nil {
		fail("%v", err)
	}
	if cursor != "" {
		request.Header.Set("Last-Event-ID", cursor)
	}
	if b.tokenOnStream {
		request.Header.Set("Authorization", "Bearer "+b.secret)
	}
	resp, err := client.Do(request)
	if err != nil {
		to.failed = err.Error()
		return to
	}
	defer resp.Body.Close()
	if b.ends {
		if resp.StatusCode == http.StatusNoContent {
			return to // The turn is over, and the client has all of it.
		}
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		to.failed = strconv.Itoa(resp.StatusCode) + " " + string(text)
		return to
	}
	buffer := make([]byte, 4096)
	for until == nil || !until(to) {
		n, err := resp.Body.Read(buffer)
		to.Write(buffer[:n])
		if err != nil {
			if err != io.EOF {
				to.failed = err.Error()
			}
			return to
		}
	}
	return to
}

// === what is tried ===

func try(b *backend) {
	slow := make(chan string)
	go func() { slow <- outlives(b) }()

	// The client goes away in the middle, and comes back with the id of the last event it has whole.
	b.start("cut", "stream 40 25\ntext "+strings.Repeat("some words of a long answer ", 30))
	first := b.stream("cut", "", func(to *own) bool { return len(events(to)) >= 4 })
	seen := events(first)
	rest := b.stream("cut", seen[len(seen)-1].id, nil)
	all := append(seen, events(rest)...)
	check("cut", rest, all, "complete")

	// A finished session tells the same again, and then there is nothing more to tell.
	again := b.stream("cut", "", nil)
	check("finished", again, events(again), "complete")
	if fmt.Sprint(events(again)) != fmt.Sprint(all) {
		fail("finished: %v, and before %v", events(again), all)
	}
	last := all[len(all)-1].id
	if over := b.stream("cut", last, nil); over.failed != "" || over.Len() > 0 {
		fail("after the end: %q %q", over.failed, over.String())
	}
	unpatched := *b
	unpatched.ends = false
	if over := unpatched.stream("cut", last, nil); over.failed != "204 " {
		fail("after the end, unpatched: %q", over.failed)
	}

	// The token is asked for on the stream call too.
	unpatched.tokenOnStream = false
	refused := unpatched.stream("cut", "", nil)
	if !strings.HasPrefix(refused.failed, "401 ") || !strings.Contains(refused.failed, "the request has none") {
		fail("without a token: %q", refused.failed)
	}

	// A session that is stopped ends its stream.
	b.start("stopped", "text I begin.\nhang")
	done := make(chan *own)
	go func() { done <- b.stream("stopped", "", nil) }()
	if answer := b.call(http.MethodPost, "/sessions/stopped/stop", "", http.StatusOK); answer["status"] != "cancelled" {
		fail("stop: %v", answer)
	}
	stopped := <-done
	check("stopped", stopped, events(stopped), "status")
	if status := b.call(http.MethodGet, "/sessions/stopped/status", "", http.StatusOK); status["status"] != "cancelled" {
		fail("status: %v", status)
	}
	fmt.Printf("backend: a cut stream of %d events was resumed after %s; finished, stopped and refused streams are "+
		"as documented; %s\n", len(all), seen[len(seen)-1].id, <-slow)
}

// outlives has a turn that takes longer than the client's 30 s: they cut the stream, and nothing is lost.
func outlives(b *backend) string {
	b.start("long", "text It begins.\nwait 33000\ntext It ends.")
	begun := time.Now()
	first := b.stream("long", "", nil)
	if first.failed == "" || time.Since(begun) < limit {
		fail("long: the client's limit did not cut: %q", first.failed)
	}
	seen := events(first)
	rest := b.stream("long", seen[len(seen)-1].id, nil)
	check("long", rest, append(seen, events(rest)...), "complete")
	return "one that the client's 30 s cut was resumed too"
}

// === events ===

type event struct{ kind, id, data string }

// events are the whole blocks among the bytes; what the cut left of one comes again. Heartbeats are silence.
func events(from *own) []event {
	var found []event
	blocks := strings.Split(from.String(), "\n\n")
	for _, block := range blocks[:len(blocks)-1] {
		var one event
		for _, line := range strings.Split(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "event":
				one.kind = value
			case "id":
				one.id = value
			case "data":
				one.data = value
			}
		}
		if one.id != "" && one.data != "" {
			found = append(found, one)
		}
	}
	return found
}

// check holds that a stream ended well, with this event, and that ids only grow and come once.
func check(what string, from *own, all []event, end string) {
	if from.failed != "" || len(all) == 0 || all[len(all)-1].kind != end {
		fail("%s: %q %v", what, from.failed, all)
	}
	before := 0
	for _, one := range all {
		_, number, _ := strings.Cut(one.id, "-")
		now, err := strconv.Atoi(number)
		if err != nil || now <= before {
			fail("%s: %s after %d", what, one.id, before)
		}
		before = now
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "backend: "+format+"\n", values...)
	os.Exit(1)
}
