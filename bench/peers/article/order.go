// Purchases as a shop sends them, by the same design: an order with a user and an idempotency key, one
// ticket per user. The lock is held across the round trip here too. Redis is asked even when the local
// stock is used up: the key may already have a ticket.

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	claimsKey    = "ticket_claims"
	usersKey     = "ticket_users"
	streamKey    = "ticket_stream"
	bodyBytesMax = 4 << 10
)

//go:embed order.lua
var orderScript string

// order is the body of a purchase.
type order struct {
	User     string `json:"user"`
	Quantity int    `json:"quantity"`
}

// reservation is the body of a granted purchase's response.
type reservation struct {
	ID       string `json:"id"`
	Sale     string `json:"sale"`
	User     string `json:"user"`
	Quantity int    `json:"quantity"`
	Status   string `json:"status"`
}

// problem is the body of any other response.
type problem struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Code   string `json:"code"`
}

// An id begins with the time of the start, which differs per start, and ends with a counter.
var started, made = time.Now().UnixNano(), int64(0)

// nextID returns a unique id of 26 characters.
func nextID() string {
	return fmt.Sprintf("%016x%010x", started, atomic.AddInt64(&made, 1))
}

// order takes one ticket for a user. It returns the script's reply.
func (shop *shop) order(user, key string) (string, error) {
	shop.lock <- struct{}{}
	defer func() { <-shop.lock }()
	may := "0"
	if shop.local.deduct() {
		may = "1"
	}
	said, err := shop.redis.order(nextID(), user, key, may)
	if may == "1" && !strings.HasPrefix(said, "1 ") {
		shop.local.giveBack()
	}
	return said, err
}

func (shop *shop) serveOrder(w http.ResponseWriter, r *http.Request) {
	var asked order
	key := r.Header.Get("Idempotency-Key")
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax)).Decode(&asked)
	if err != nil || asked.User == "" || key == "" || asked.Quantity != 1 {
		refuse(w, http.StatusUnprocessableEntity, "invalid")
		return
	}
	said, err := shop.order(asked.User, key)
	if err != nil {
		log.Printf("Redis: %v", err)
		refuse(w, http.StatusServiceUnavailable, "unknown")
		return
	}
	what, id, _ := strings.Cut(said, " ")
	held := reservation{"ticket~" + id, "ticket", asked.User, 1, "held"}
	switch what {
	case "1":
		answer(w, http.StatusCreated, held)
	case "2":
		answer(w, http.StatusOK, held)
	case "3":
		refuse(w, http.StatusConflict, "limit_reached")
	default:
		refuse(w, http.StatusConflict, "sold_out")
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	answerAs(w, "application/problem+json", status, problem{"about:blank", status, code})
}
