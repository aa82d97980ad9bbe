// Buys from stampede. Needs only Go 1.18 or later. README.md in this folder describes the server, and
// the environment, output and exit codes of all buyers.
//
//	BUYER=ann go run examples/buyer.go buy ticket   # then: show ticket~…, cancel ticket~…
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const nothingDone = "busy unavailable allowance_exhausted rate_limited"

// Method, path, body, and the outcomes that mean success.
var commands = map[string][4]string{
	"buy":    {"POST", "/v1/sales/%s/reservations", `{"quantity":` + env("QUANTITY", "1") + `}`, "held confirmed"},
	"show":   {"GET", "/v1/reservations/%s", "", "held confirmed cancelled expired refunded"},
	"cancel": {"POST", "/v1/reservations/%s/cancel", "", "cancelled already_cancelled"},
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// Repeats the request until the outcome is known, for at most PATIENCE_S. Repeating is safe: a purchase
// has its key, and the other requests change nothing the second time.
func ask(request *http.Request) map[string]any {
	client := http.Client{Timeout: 10 * time.Second} // for one attempt
	patience, _ := time.ParseDuration(env("PATIENCE_S", "30") + "s")
	end, perhapsDone := time.Now().Add(patience), false
	for pause := time.Second / 4; ; pause += time.Second / 2 {
		answer, wait := map[string]any{}, time.Duration(0)
		request.Body, _ = request.GetBody()
		response, err := client.Do(request)
		if err == nil {
			wait, _ = time.ParseDuration(response.Header.Get("Retry-After") + "s")
			err = json.NewDecoder(response.Body).Decode(&answer)
			response.Body.Close()
		}
		if err == nil && response.StatusCode < 500 && response.StatusCode != 429 {
			return answer
		}
		code := fmt.Sprint(answer["code"])
		if perhapsDone = perhapsDone || !strings.Contains(nothingDone, code); perhapsDone {
			answer = map[string]any{"code": "unknown", "detail": "It may have succeeded. Repeat it with the same key."}
		}
		wait += pause + time.Duration(time.Now().UnixNano())%pause // spreads the buyers
		if time.Now().Add(wait).After(end) {
			return answer
		}
		fmt.Fprintf(os.Stderr, "%s: again in %v\n", answer["code"], wait.Round(time.Second/10))
		time.Sleep(wait)
	}
}

func main() {
	words, random := append(os.Args, "", ""), make([]byte, 16)
	command, path := commands[words[1]], url.PathEscape(words[2])
	rand.Read(random)
	url := env("SERVER", "http://127.0.0.1:3005") + fmt.Sprintf(command[1], path)
	request, err := http.NewRequest(command[0], url, strings.NewReader(command[2]))
	if err != nil || words[2] == "" || command[0] == "" {
		fmt.Fprintln(os.Stderr, "usage: buyer.go buy SALE | show ID | cancel ID")
		os.Exit(2)
	}
	if key := env("KEY", fmt.Sprintf("%x", random)); words[1] == "buy" {
		fmt.Fprintln(os.Stderr, "key", key) // keep it until the outcome is known
		request.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	}
	if token, buyer := os.Getenv("TOKEN"), os.Getenv("BUYER"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token) // the admission token names the buyer
	} else if buyer != "" && words[1] == "buy" {
		request.Header.Set("X-User-Id", buyer)
	}
	answer := ask(request)
	outcome, isProblem := answer["code"]
	if !isProblem {
		outcome = answer["status"]
	}
	line := []string{fmt.Sprint(outcome)}
	for _, name := range strings.Fields("id quantity expires_at opens_at limit_per_user free max field detail") {
		if value, found := answer[name]; found {
			line = append(line, fmt.Sprint(name, " ", value))
		}
	}
	fmt.Println(strings.Join(line, "; "))
	if !strings.Contains(command[3], line[0]) {
		os.Exit(1)
	}
}
