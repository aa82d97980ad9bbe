"""Buys with Python's http.client: see tests/clients/run."""

import http.client
import json
import ssl
import sys

port, trusted, version, user = sys.argv[1:]
context = ssl.create_default_context(cafile=trusted)
context.minimum_version = context.maximum_version = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}[version]
POST = "/v1/sales/ticket/reservations"


def ask(connection, method, path, headers={}, body=None):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def buy(connection):
    status, answer = ask(connection, "GET", "/buy/ticket")
    assert status == 200 and answer["code"] == 1, (status, answer)


first = http.client.HTTPSConnection("localhost", int(port), context=context, timeout=20)
buy(first)
socket = first.sock
headers = {"Content-Type": "application/json", "Idempotency-Key": "key"}
order = (first, "POST", POST, headers, json.dumps({"user": user}))
(status, made), (again, same) = ask(*order), ask(*order)
assert (status, made["user"], made["status"]) == (201, user, "held"), (status, made)
assert (again, same) == (200, made), (again, same)
assert first.sock is socket, "the connection was not kept"

second = http.client.HTTPSConnection("localhost", int(port), timeout=20)
http.client.HTTPConnection.connect(second)
second.sock = context.wrap_socket(second.sock, server_hostname="localhost", session=socket.session)
buy(second)
resumed = "resumed" if second.sock.session_reused else "a full handshake"
print(f"{socket.version()}, then {resumed}")
