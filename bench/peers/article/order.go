// Purchases as a shop sends them, by the same design: an order with a user and a key that is remembered,
// one ticket a user. The lock is held across the round trip here too, and Redis is asked also when the
// local stock is used up: the key may have a ticket.

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

// order is what is posted.
type order struct {
	User     string `json:"user"`
	Quantity int    `json:"quantity"`
}

// reservation is what is answered to one that is granted.
type reservation struct {
	ID       string `json:"id"`
	Sale     string `json:"sale"`
	User     string `json:"user"`
	Quantity int    `json:"quantity"`
	Status   string `json:"status"`
}

// problem is what is answered to any other.
type problem struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Code   string `json:"code"`
}

// Where an id begins is another one at each start; what follows is a count.
var started, made = time.Now().UnixNano(), int64(0)

// nextID gives 26 characters that nobody else has.
func nextID() string {
	return fmt.Sprintf("%016x%010x", started, atomic.AddInt64(&made, 1))
}

// order takes one ticket for a user. It returns what the script does.
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
