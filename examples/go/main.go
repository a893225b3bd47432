// A backend's use of opencode-sidecar, as a program: give it a task, and it follows the task to its end, whatever
// happens to the connection and to the sidecar in between.
//
//	go run . -provider demo -model demo -id task-1 "Show me what you can do"
//	go run . -stop task-1
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"example.com/opencode-sidecar-client/sidecar"
)

// A turn that was interrupted is taken up again so often.
const attempts = 3

func main() {
	here := os.Getenv("SIDECAR_URL")
	if here == "" {
		here = "http://localhost:3003"
	}
	address := flag.String("url", here, "address of the sidecar")
	provider := flag.String("provider", "demo", "provider of the model")
	model := flag.String("model", "demo", "the provider's name of the model")
	id := flag.String("id", fmt.Sprintf("task-%d", time.Now().UnixNano()), "id of the session")
	cursor := flag.String("since", "", "go on behind this event")
	stopped := flag.String("stop", "", "end what runs in this session, and nothing else")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	// Secrets come from the environment: any process can read a command line.
	client := &sidecar.Client{URL: *address, Token: os.Getenv("SIDECAR_TOKEN")}
	config := sidecar.Model{Provider: *provider, Model: *model, APIKey: os.Getenv("SIDECAR_API_KEY")}
	var err error
	if *stopped != "" {
		err = client.Stop(ctx, *stopped)
	} else {
		err = task(ctx, client, *id, flag.Arg(0), config, *cursor)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// task runs one task to its end. It may be called again for the same task, as after a crash of this program: what was
// begun is followed and not begun again, and what has ended is only told. With an empty prompt it follows one that was
// begun before.
func task(ctx context.Context, client *sidecar.Client, id, prompt string, model sidecar.Model, cursor string) error {
	if prompt != "" {
		if _, err := client.Create(ctx, id, prompt, model); err != nil {
			return err
		}
	}
	for attempt := 0; ; {
		end, err := client.Follow(ctx, id, cursor, show)
		if ctx.Err() != nil {
			// Ctrl-C: the task is not wanted any more. It is stopped in a time of its own, because ctx is over.
			within, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return client.Stop(within, id)
		}
		if err != nil && !errors.Is(err, sidecar.ErrNothingLeft) {
			return err
		}
		now, unknown := client.Status(ctx, id)
		if unknown != nil {
			return unknown
		}
		if err != nil {
			end = now.End()
		}
		// An end that was read again is history if a later turn went on from it.
		if cursor = end.Cursor; end.Turn < now.Turn {
			continue
		}
		interrupted := end.Code == "interrupted" || end.Code == "shutting_down" || end.Code == "engine_lost"
		switch {
		case end.Kind == "complete":
			fmt.Println("done:", end.Message)
			return nil
		case end.Kind == "cancelled":
			fmt.Println("cancelled")
			return nil
		case !interrupted || !end.Resumable || attempt >= attempts:
			return fmt.Errorf("%s (%s)", end.Message, end.Code)
		}
		// The sidecar was restarted under the turn. What the agent did is kept; it goes on from there.
		fmt.Println("interrupted, going on")
		attempt++
		if _, err := client.Resume(ctx, id, model); err != nil {
			return err
		}
	}
}

// show prints an event in a line. A backend would pass event.Data on to its own clients, with event.ID.
func show(event sidecar.Event) error {
	var data struct{ Text, Tool, Status string }
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return err
	}
	fmt.Printf("%s %s %q\n", event.ID, event.Kind, data.Text+data.Tool+data.Status)
	return nil
}
