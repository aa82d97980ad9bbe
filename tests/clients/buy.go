// Buys with Go's net/http: see tests/clients/run.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"
)

var port, trusted, version, user = os.Args[1], os.Args[2], os.Args[3], os.Args[4]

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type answer struct {
	status int
	body   string
	json   map[string]any
	tls    *tls.ConnectionState
	kept   bool
}

func ask(client *http.Client, method, path, body string) answer {
	request, err := http.NewRequest(method, "https://localhost:"+port+path, strings.NewReader(body))
	check(err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", "key")
	}
	var kept bool
	trace := httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { kept = info.Reused }}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &trace))
	response, err := client.Do(request)
	check(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(err)
	a := answer{status: response.StatusCode, body: string(text), tls: response.TLS, kept: kept}
	check(json.Unmarshal(text, &a.json))
	return a
}

func want(right bool, what string, a answer) {
	if !right {
		check(fmt.Errorf("%s: %d %s", what, a.status, a.body))
	}
}

func main() {
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(trusted)
	check(err)
	roots.AppendCertsFromPEM(pem)
	number := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[version]
	config := &tls.Config{RootCAs: roots, MinVersion: number, MaxVersion: number,
		ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}

	first := ask(client, "GET", "/buy/ticket", "")
	want(first.status == 200 && first.json["code"] == 1.0, "GET", first)
	const path = "/v1/sales/ticket/reservations"
	order := `{"user":"` + user + `"}`
	made := ask(client, "POST", path, order)
	want(made.status == 201 && made.json["user"] == user && made.kept, "POST", made)
	same := ask(client, "POST", path, order)
	want(same.status == 200 && same.body == made.body && same.kept, "POST again", same)

	transport.CloseIdleConnections()
	last := ask(client, "GET", "/buy/ticket", "")
	want(last.status == 200 && last.json["code"] == 1.0 && !last.kept, "a second connection", last)
	resumed := "a full handshake"
	if last.tls.DidResume {
		resumed = "resumed"
	}
	names := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}
	fmt.Printf("%s, then %s\n", names[last.tls.Version], resumed)
}
