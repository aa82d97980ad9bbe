// Buys with Java's java.net.http: see tests/clients/run. The CA is in the trust store that the
// command names.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Arrays;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSession;

class Buy {
    static String port;

    static HttpResponse<String> ask(HttpClient client, String path, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create("https://localhost:" + port + path))
            .timeout(Duration.ofSeconds(20));
        if (body != null) {
            request.header("Content-Type", "application/json").header("Idempotency-Key", "key");
            request.POST(BodyPublishers.ofString(body));
        }
        return client.send(request.build(), BodyHandlers.ofString());
    }

    static void want(HttpResponse<String> response, int status, String part) {
        if (response.statusCode() != status || !response.body().contains(part)) {
            throw new AssertionError(response + ": " + response.body());
        }
    }

    static boolean same(SSLSession one, SSLSession other) {
        return Arrays.equals(one.getId(), other.getId());
    }

    public static void main(String[] arguments) throws Exception {
        port = arguments[0];
        var user = arguments[2];
        var context = SSLContext.getDefault();
        var version = new SSLParameters(null, new String[] {"TLSv" + arguments[1]});
        var builder = HttpClient.newBuilder().sslContext(context).sslParameters(version);

        var client = builder.build();
        var first = ask(client, "/buy/ticket", null);
        want(first, 200, "\"code\":1,");
        var order = "{\"user\":\"" + user + "\"}";
        var made = ask(client, "/v1/sales/ticket/reservations", order);
        want(made, 201, order.substring(1, order.length() - 1));
        want(ask(client, "/v1/sales/ticket/reservations", order), 200, made.body());
        var session = first.sslSession().get();
        if (!same(session, made.sslSession().get())) {
            throw new AssertionError("the connection was not kept");
        }

        var last = ask(builder.build(), "/buy/ticket", null);
        want(last, 200, "\"code\":1,");
        var again = last.sslSession().get();
        var resumed = again.getCreationTime() == session.getCreationTime();
        System.out.println(again.getProtocol() + ", then " + (resumed ? "resumed" : "a full handshake"));
    }
}
