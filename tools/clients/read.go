// The backend's own way to read a stream: net/http, a buffer of 4 KiB, everything passed on as it comes.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil || response.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, response, err)
		os.Exit(1)
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
