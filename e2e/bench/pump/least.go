package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// part is a piece of a stream on its way, in a buffer that is used again.
type part struct {
	buffer []byte
	done   chan error
}

// newParts gives buffers for all parts in flight and one more.
func (s *settings) newParts() chan *part {
	free := make(chan *part, s.parallel+1)
	for range cap(free) {
		free <- &part{buffer: make([]byte, s.partSize)}
	}
	return free
}

// client has connections for all parts in flight, and buffers that let a part
// go in few calls of the kernel.
func (s *settings) client(streams int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: streams * (s.parallel + 1), WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10,
	}}
}

// url is where a stream lies.
func (s *settings) url(stream int) string {
	return s.endpoint + "/" + strings.ReplaceAll(s.key, "{}", strconv.Itoa(stream))
}

// put sends a stream as parts, each with a plain PUT: no client of a store can
// do with less.
func (s *settings) put(ctx context.Context) carry {
	client := s.client(16)
	return func(stream int, path string) error {
		pipe, err := s.open(path, os.O_RDONLY)
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		free := s.newParts()
		var number int64
		for ended := false; !ended && err == nil && ctx.Err() == nil; number++ {
			p := <-free
			var n int
			n, err = io.ReadFull(pipe, p.buffer[:s.partSize])
			ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if ended {
				err = nil
			}
			if n == 0 {
				break
			}
			p.buffer = p.buffer[:n]
			target := fmt.Sprintf("%s.%d", s.url(stream), number) // an object of its own
			group.Go(func() error {
				defer func() { free <- p }()
				return ask(ctx, client, http.MethodPut, target, "", p.buffer)
			})
		}
		return errors.Join(err, group.Wait(), pipe.Close())
	}
}

// get fetches the parts of an object ahead and writes them in order: the least
// that a restore can do.
func (s *settings) get(ctx context.Context) carry {
	client := s.client(16)
	return func(stream int, path string) error {
		pipe, err := s.open(path, os.O_WRONLY)
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		free, queue := s.newParts(), make(chan *part, s.parallel+1)
		source := s.url(stream)
		group.Go(func() error {
			defer close(queue)
			for offset := int64(0); offset < s.size; offset += s.partSize {
				var p *part
				select {
				case p = <-free:
				case <-ctx.Done():
					return ctx.Err()
				}
				end := min(offset+s.partSize, s.size)
				p.buffer, p.done = p.buffer[:end-offset], make(chan error, 1)
				group.Go(func() error {
					err := ask(ctx, client, http.MethodGet, source, fmt.Sprintf("bytes=%d-%d", offset, end-1), p.buffer)
					p.done <- err
					return err
				})
				queue <- p // there are never more parts than places
			}
			return nil
		})
		for p := range queue {
			if err = <-p.done; err != nil {
				break
			}
			if _, err = pipe.Write(p.buffer); err != nil {
				break
			}
			free <- p
		}
		if err != nil {
			group.Go(func() error { return err }) // ends ctx
		}
		return errors.Join(err, group.Wait(), pipe.Close())
	}
}

// ask sends buffer, or fills it with what is at a range.
func ask(ctx context.Context, client *http.Client, method, url, ranged string, buffer []byte) error {
	var body io.Reader = http.NoBody
	if method == http.MethodPut {
		body = bytes.NewReader(buffer)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if ranged != "" {
		request.Header.Set("Range", ranged)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // all of the body was read
	switch {
	case response.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s", method, url, response.Status)
	case ranged == "":
		_, err = io.Copy(io.Discard, response.Body)
	default:
		_, err = io.ReadFull(response.Body, buffer)
	}
	return err
}
