// The article's design: net/http, a local stock in memory, one lock around the local and the remote
// deduction, one Lua call per ticket to Redis over a pool of connections, JSON by encoding/json.
//
// Rewritten from the article's description. Bugs of the original are fixed, in its favour: this sells
// exactly the total, returns its connections to the pool, returns a local unit when Redis refuses it,
// distinguishes a failed Redis (503) from "sold out", and opens no log file per request. The design is
// unchanged: one lock for all requests, held across the round trip to Redis.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"runtime"
)

// More than the lock can ever use. The bound closes connections that a failed burst has left over.
const idleConnectionsMax = 64

// response is the body of every response.
type response struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

// shop is the sale as this instance sees it.
type shop struct {
	// The lock: a goroutine that has sent a value holds it. It covers local and remote stock.
	lock  chan struct{}
	local localStock
	redis *pool
}

// localStock is the number of tickets that this instance may sell, including its buffer. Guarded by
// the shop's lock.
type localStock struct {
	inStock int64
	sold    int64
}

func (stock *localStock) deduct() bool {
	if stock.sold >= stock.inStock {
		return false
	}
	stock.sold++
	return true
}

func (stock *localStock) giveBack() {
	stock.sold--
}

// sell takes one ticket. An error means that Redis did not answer, not "sold out".
func (shop *shop) sell() (bool, error) {
	shop.lock <- struct{}{}
	defer func() { <-shop.lock }()
	if !shop.local.deduct() {
		return false, nil
	}
	sold, err := shop.redis.deduct()
	if !sold {
		shop.local.giveBack()
	}
	return sold, err
}

func (shop *shop) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	sold, err := shop.sell()
	switch {
	case err != nil:
		log.Printf("Redis: %v", err)
		answer(w, http.StatusServiceUnavailable, response{-7, "结果未知"})
	case sold:
		answer(w, http.StatusOK, response{1, "抢票成功"})
	default:
		answer(w, http.StatusOK, response{-1, "已售罄"})
	}
}

func answer(w http.ResponseWriter, status int, what any) {
	answerAs(w, "application/json", status, what)
}

func answerAs(w http.ResponseWriter, contentType string, status int, what any) {
	body, err := json.Marshal(what)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(body)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:3005", "`address` to listen on")
	redis := flag.String("redis", "127.0.0.1:6379", "`address` of Redis")
	total := flag.Int64("total", 10000, "tickets of the sale, if Redis doesn't have it yet")
	local := flag.Int64("local", -1, "tickets that this instance may sell, including its buffer (default: all)")
	cores := flag.Int("cores", 0, "threads that run Go code at a time, GOMAXPROCS (default: the cores it may run on)")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		usage("unexpected argument %q", flag.Arg(0))
	case *total < 0:
		usage("-total %d: can't be negative", *total)
	case *cores < 0 || *cores > 1024:
		usage("-cores %d: must be 1 to 1024", *cores)
	}
	if *local < 0 {
		*local = *total
	}
	if *cores > 0 {
		runtime.GOMAXPROCS(*cores)
	}

	pool := newPool(*redis)
	if err := pool.create(*total); err != nil {
		log.Fatalf("article: Redis at %s: %v", *redis, err)
	}
	shop := &shop{lock: make(chan struct{}, 1), local: localStock{inStock: *local}, redis: pool}
	http.Handle("/buy/ticket", shop)
	http.HandleFunc("/v1/sales/ticket/reservations", shop.serveOrder)
	log.Fatalf("article: %v", http.ListenAndServe(*listen, nil))
}

func usage(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "article: "+format+"\n", values...)
	flag.Usage()
	os.Exit(2)
}
