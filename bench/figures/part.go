package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"sendonce/bench/figures/stages"
)

// part runs what must be a process of its own: "figures part NAME ARGS".
func part(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	show := func(v any, err error) error {
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(v)
	}
	switch {
	case len(args) == 2 && args[0] == "get":
		return get(ctx, args[1])
	case len(args) == 3 && args[0] == "receive": // ADDRESS BYTES
		total, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return show(stages.Receive(ctx, args[1], total, func(addr, id string) error {
			_, err := fmt.Println(addr, id)
			return err
		}))
	case len(args) == 4 && args[0] == "send": // ADDRESS IDENTITY BYTES
		total, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return show(stages.Send(ctx, args[1], args[2], total, connections))
	case len(args) == 4 && args[0] == "stages": // DIR FILE BYTES
		total, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return show(stages.Run(ctx, args[1], args[2], total))
	}
	return fmt.Errorf("unknown part %q", args)
}

// connections is how many a push opens.
const connections = 4

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
