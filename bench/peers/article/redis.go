// A pool of connections to Redis, and just enough of its protocol (RESP 2) for the two scripts.

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	saleKey      = "ticket_hash_key"
	totalField   = "ticket_total_nums"
	soldField    = "ticket_sold_nums"
	dialTimeout  = 2 * time.Second
	replyTimeout = 2 * time.Second
	bulkBytesMax = 64 << 10
)

// The article's script, with a corrected condition, so that it sells exactly the total.
const deductScript = `
local counts = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[2])
local total, sold = tonumber(counts[1]), tonumber(counts[2])
if total > sold then
  return redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
end
return 0`

// redisError is an error reply of Redis. The connection stays usable.
type redisError string

func (e redisError) Error() string { return string(e) }

// connection is a connection without an outstanding reply.
type connection struct {
	net.Conn
	input *bufio.Reader
	out   []byte
}

// pool keeps idle connections.
type pool struct {
	address string
	sha     string
	ordered string
	idle    chan *connection
}

func newPool(address string) *pool {
	return &pool{address: address, idle: make(chan *connection, idleConnectionsMax)}
}

// create creates the sale if it is missing, and loads the scripts.
func (pool *pool) create(total int64) error {
	for _, field := range [][2]string{{totalField, strconv.FormatInt(total, 10)}, {soldField, "0"}} {
		if _, _, err := pool.ask("HSETNX", saleKey, field[0], field[1]); err != nil {
			return err
		}
	}
	sha, _, err := pool.ask("SCRIPT", "LOAD", deductScript)
	if err != nil {
		return err
	}
	pool.sha = sha
	pool.ordered, _, err = pool.ask("SCRIPT", "LOAD", orderScript)
	return err
}

// deduct takes a ticket in Redis if one is left.
func (pool *pool) deduct() (bool, error) {
	_, sold, err := pool.eval(pool.sha, deductScript, "1", saleKey, totalField, soldField)
	return sold > 0, err
}

// order takes a ticket in Redis for a user with a key, and returns the script's reply.
func (pool *pool) order(id, user, key, may string) (string, error) {
	said, _, err := pool.eval(pool.ordered, orderScript,
		"4", saleKey, claimsKey, usersKey, streamKey, id, user, key, may)
	return said, err
}

// eval runs a loaded script, and loads it again if Redis lacks it.
func (pool *pool) eval(sha, script string, words ...string) (string, int64, error) {
	text, number, err := pool.ask(append([]string{"EVALSHA", sha}, words...)...)
	var said redisError
	if errors.As(err, &said) && strings.HasPrefix(string(said), "NOSCRIPT") {
		// Redis was restarted, or its scripts were flushed. EVAL loads the script again.
		return pool.ask(append([]string{"EVAL", script}, words...)...)
	}
	return text, number, err
}

// ask sends a command over a connection of the pool, and returns the connection unless it failed.
func (pool *pool) ask(command ...string) (string, int64, error) {
	connection, err := pool.take()
	if err != nil {
		return "", 0, err
	}
	text, number, err := connection.ask(command)
	var said redisError
	if err != nil && !errors.As(err, &said) {
		connection.Close()
		return "", 0, err
	}
	select {
	case pool.idle <- connection:
	default:
		connection.Close()
	}
	return text, number, err
}

func (pool *pool) take() (*connection, error) {
	select {
	case connection := <-pool.idle:
		return connection, nil
	default:
	}
	conn, err := net.DialTimeout("tcp", pool.address, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, input: bufio.NewReader(conn)}, nil
}

// ask sends a command and reads a reply, which must be a string or a number.
func (c *connection) ask(command []string) (string, int64, error) {
	if err := c.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return "", 0, err
	}
	c.out = append(strconv.AppendInt(append(c.out[:0], '*'), int64(len(command)), 10), "\r\n"...)
	for _, word := range command {
		c.out = append(strconv.AppendInt(append(c.out, '$'), int64(len(word)), 10), "\r\n"...)
		c.out = append(append(c.out, word...), "\r\n"...)
	}
	if _, err := c.Write(c.out); err != nil {
		return "", 0, err
	}
	return c.reply()
}

func (c *connection) reply() (string, int64, error) {
	line, err := c.input.ReadString('\n')
	if err != nil {
		return "", 0, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", 0, errors.New("empty reply")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, 0, nil
	case '-':
		return "", 0, redisError(rest)
	case ':':
		number, err := strconv.ParseInt(rest, 10, 64)
		return "", number, err
	case '$':
		length, err := strconv.Atoi(rest)
		if err != nil || length < 0 || length > bulkBytesMax {
			return "", 0, fmt.Errorf("invalid string length %q", rest)
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(c.input, text); err != nil {
			return "", 0, err
		}
		return string(text[:length]), 0, nil
	}
	return "", 0, fmt.Errorf("unexpected reply: %q", line)
}
