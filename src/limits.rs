//! All bounds of the server, with the relations between them checked at compile time.
//!
//! For a bound that the operator can set, this file has its default and range; every other bound is
//! a constant. Units come last in the names.

mod admission;
mod demo;
mod life;
mod logs;
mod moving;
mod rates;
mod sale;
mod webhooks;

pub use admission::*;
pub use demo::*;
pub use life::*;
pub use logs::*;
pub use moving::*;
pub use rates::*;
pub use sale::*;
pub use webhooks::*;

/// Longest request line (method, target, version and CRLF). Beyond it: 414.
pub const REQUEST_LINE_BYTES_MAX: usize = 4 * 1024;
/// Longest request head (request line and header section). Beyond it: 431.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most header lines in a request. Beyond it: 431.
pub const HEADERS_MAX: usize = 64;
/// Most empty lines before a request line (RFC 9112, section 2.2). Beyond it: 400.
pub const EMPTY_LINES_MAX: usize = 4;
/// Longest request body after decoding. Beyond it: 413.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Longest line of a chunked body: a size with its extensions, or one trailer. Beyond it: 400.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most bytes of chunk framing (sizes, extensions, trailers) a body may carry. Beyond it: 400.
pub const CHUNK_OVERHEAD_BYTES_MAX: usize = 16 * 1024;

/// Input per read, unless it is for a body: a head, and the empty lines before it. This much
/// pipelined input is kept with a connection while a request waits.
pub const READ_BUFFER_BYTES: usize = HEAD_BYTES_MAX + 2 * EMPTY_LINES_MAX;
/// Initial size of a core's buffer for responses.
pub const OUT_BUFFER_BYTES: usize = 32 * 1024;
/// Bytes of unsent responses per connection; beyond it, reading stops.
pub const OUT_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Longest response; an out-buffer exceeds its bound by at most one of these.
pub const RESPONSE_BYTES_MAX: usize = 4 * 1024;

/// Longest TLS record that is received, its header included (RFC 5246, section 6.2.3). This much of
/// an incomplete record, or of a message in several records, is kept with a connection.
pub const TLS_RECEIVED_BYTES_MAX: usize = (1 << 14) + 2048 + 5;
/// A core's buffer for records: the kept part of one, and the input of one read.
pub const RECORDS_BUFFER_BYTES: usize = 24 * 1024;
/// Longest PROXY header: the addresses, and a few more fields that are ignored.
pub const PROXY_HEADER_BYTES_MAX: usize = 1024;
/// Connections of a core that may wait for their handshake. A core completes some thousands per
/// second, one between two rounds of its other work.
pub const HANDSHAKES_WAITING_MAX: usize = 1024;

/// Sales with their own label in metrics; all others share one.
pub const NAMED_SALES_MAX: usize = 100;
/// Time without a request after which a sale may lose its label, if another sale needs it.
pub const NAMED_SALES_IDLE_S: u64 = 600;

/// Certificates with their keys; a client gets the one for the host that it names.
pub const TLS_PAIRS_MAX: usize = 64;
/// Days before the end of a certificate from which on a warning is logged.
pub const CERTIFICATE_ENDS_SOON_DAYS: u64 = 14;
/// Ticket keys in a file: the current one, and those before and after it.
pub const TICKET_KEYS_MAX: usize = 16;
/// Time for which a client may resume with a ticket, in seconds. The file of keys decides when it
/// really ends.
pub const TICKET_LIFETIME_S: u32 = 12 * 3600;
/// Longest ticket that is accepted.
pub const TICKET_BYTES_MAX: usize = 2048;

/// Time for a whole head, from its first byte. Beyond it: 408.
pub const HEAD_DEADLINE_MS: u64 = 10_000;
/// Time for a whole body, from the end of its head. Beyond it: 408.
pub const BODY_DEADLINE_MS: u64 = 10_000;
/// Time a connection may be idle between requests. Beyond it: closed.
pub const IDLE_DEADLINE_MS: u64 = 75_000;
/// Time a client may not read its answers. Beyond it: closed.
pub const WRITE_STALL_DEADLINE_MS: u64 = 10_000;
/// Time for reading (and discarding) after a closing error, so that the client sees the answer.
pub const LINGER_DEADLINE_MS: u64 = 2_000;
/// Bytes discarded while lingering.
pub const LINGER_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Reads per turn of a connection.
pub const READS_PER_TURN_MAX: usize = 4;
/// Maximum number of connections closed to make room per accepted connection.
pub const EVICTIONS_PER_ACCEPT: usize = 2;
/// Age up to which a new connection without input does not count as silent: its request is on its
/// way.
pub const NEWCOMER_MS: u64 = 100;
/// Maximum number of connections closed to make room per tick.
pub const EVICTIONS_PER_TICK: usize = 256;
/// Bytes of its answers per second that a client must read while the system's buffer is full.
pub const TAKEN_BYTES_PER_S_MIN: u64 = 1024;
/// Requests of one connection that are answered in one turn: more than well-behaved clients
/// pipeline. A connection with more waits for the others from then on.
pub const REQUESTS_AT_ONCE_MAX: u32 = 17;
/// Requests per turn of such a connection.
pub const REQUESTS_PER_TURN_MAX: u32 = 64;
/// Approximate time of a turn: slow requests end it sooner.
pub const TURN_TIME_US: u64 = 250;
/// Time between two log lines about failing accepts.
pub const ACCEPT_LOG_INTERVAL_MS: u64 = 10_000;
/// Connections per tick that a core checks for their deadline: each takes less than a tenth of a
/// microsecond.
pub const CONNECTION_LOOKS_MAX: usize = 16 * 1024;
/// Connections per tick that a core closes for their deadline: each takes some microseconds.
pub const CONNECTION_ENDS_MAX: usize = 1024;
/// Time in a drain for a client to complete a request, or to read its answers. Beyond it: 408, or
/// closed.
pub const DRAIN_CLIENT_MS: u64 = 2_000;
/// Time in a drain for reading after an answer that closes.
pub const DRAIN_LINGER_MS: u64 = 1_000;
/// Time after which a container runtime kills a container that it has asked to stop.
pub const CONTAINER_STOP_MS: u64 = 10_000;
/// Time between two ticks of a core: time-outs of connections and batches, latches, buffered logs.
pub const TICK_INTERVAL_MS: u64 = 50;

/// Ledger answers after which a purchase gives up. A purchase from a split sale that has found no
/// units by then is answered `busy`: others were quicker each time.
pub const PURCHASE_STEPS_MAX: u32 = 64;
/// Concurrent searches for units per core. A search takes several steps and a stack; more searches
/// wait.
pub const FLOWS_MAX: usize = 64;
/// Rounds of one search: others may be quicker each time.
pub const SPLIT_ROUNDS_MAX: usize = 16;

/// A sale may have up to this many times as many of a core's waiting slots as are free. Alone it
/// gets 8 of 9; two hot sales get 8 of 17 each; a slot is always left for the next sale.
pub const WAITING_SHARE: usize = 8;
/// Empty queues of sales that a core keeps for reuse.
pub const IDLE_QUEUES_MAX: usize = 4_096;
/// Maximum number of woken requests that are resumed between two rounds of events; also the maximum
/// per batch that are resumed before all others.
pub const RESUMED_AT_ONCE_MAX: usize = 64;
/// Commands in one batch.
pub const BATCH_MAX: usize = 512;
/// Maximum number of scripts per batch. In a call for several sales each sale counts: Redis takes 20
/// to 40 us for each, whatever it does.
pub const BATCH_SCRIPTS_MAX: usize = 128;
/// Peeks per batch for Redis, which takes some 15 us for each: buyers wait for no more of them,
/// however many sales a tick refreshes.
pub const BATCH_PEEKS_MAX: usize = 24;
/// Interval at which a core polls the urgent events within a round, in microseconds: a poll without
/// an event takes less time than serving one connection.
pub const URGENT_LOOK_INTERVAL_US: u64 = 500;
/// Time for the ledger's answer. Beyond it: 503 `unknown` (sent) or `busy` (not sent).
pub const LEDGER_ANSWER_DEADLINE_MS: u64 = 2_000;
/// First and longest pause between two attempts to reach the ledger.
pub const RECONNECT_BACKOFF_MS_MIN: u64 = 50;
/// See [`RECONNECT_BACKOFF_MS_MIN`].
pub const RECONNECT_BACKOFF_MS_MAX: u64 = 1_000;
/// Time for a blocking client of the ledger (operator, sweep, orders) to connect and log in.
pub const CLIENT_CONNECT_DEADLINE_MS: u64 = 3_000;
/// Time for an answer to a blocking client, unless the command may take longer.
pub const CLIENT_ANSWER_DEADLINE_MS: u64 = 10_000;
/// Time between two log lines about batches that the ledger refuses.
pub const REFUSAL_LOG_INTERVAL_MS: u64 = 1_000;
/// Time between two log lines about the same sale that is gone from the ledger.
pub const VANISHED_LOG_INTERVAL_MS: u64 = 60_000;
/// Minimum age of an idle connection to Redis that is replaced silently when it ends.
pub const IDLE_CLOSE_MS_MIN: u64 = 500;
/// Maximum number of sales whose keys are checked when a connection to Redis is made.
pub const REDIS_SALES_CHECKED_MAX: usize = 16;
/// Maximum number of different warnings about a Redis per process.
pub const REDIS_WARNINGS_MAX: usize = 64;
/// Most servers that a Redis URL may name: a few are enough to find the others.
pub const REDIS_ENDPOINTS_MAX: usize = 32;
/// Longest name of a primary that Sentinels watch.
pub const PRIMARY_NAME_BYTES_MAX: usize = 128;
/// Nodes of a Cluster to which one core keeps connections.
pub const CLUSTER_LANES_MAX: usize = 128;
/// Time after which a core closes its connection to a node without slots.
pub const CLUSTER_LANE_IDLE_MS: u64 = 10_000;
/// Redirections of a command that are followed at once; the next one waits for a pause.
pub const CLUSTER_REDIRECTS_MAX: u32 = 4;
/// Shortest and longest time between two queries of the slot map.
pub const CLUSTER_REFRESH_MS_MIN: u64 = 100;
/// See [`CLUSTER_REFRESH_MS_MIN`].
pub const CLUSTER_REFRESH_MS_MAX: u64 = 30_000;
/// Longest pause between two such queries while something is wrong and the answer stays the same.
pub const CLUSTER_REFRESH_PAUSE_MS_MAX: u64 = 2_000;
/// Time to connect to one node of a Cluster, and for its answer to that query.
pub const CLUSTER_NODE_DEADLINE_MS: u64 = 1_000;
/// Time for which a blocking client retries a command whose slot is migrating, or whose node is
/// down; other commands of its round trip wait as long.
pub const CLUSTER_PATIENCE_MS: u64 = 500;
/// Pause between two such attempts.
pub const CLUSTER_RETRY_MS: u64 = 20;
/// Time for a connection to a Sentinel, and for an answer of one.
pub const SENTINEL_ANSWER_DEADLINE_MS: u64 = 500;
/// Interval at which each Sentinel is polled, in addition to its messages.
pub const SENTINEL_POLL_INTERVAL_MS: u64 = 250;
/// How long the first Sentinel that answers waits for a majority of them.
pub const SENTINEL_MAJORITY_WAIT_MS: u64 = 1_000;
/// Time for which most Sentinels must name another primary, in an earlier epoch, before nothing is
/// sent to ours.
pub const SENTINEL_DISSENT_MS: u64 = 5_000;
/// How long a fresh connection waits for the replicas that a batch would wait for.
pub const REPLICAS_FIND_MS: u64 = 50;
/// Interval at which a blocking connection checks that its primary still is one.
pub const TERM_LOOK_INTERVAL_MS: u64 = 100;
/// Greatest epoch of Sentinels for a sale: a Lua number is exact up to it.
pub const EPOCH_MAX: u64 = (1 << 53) - 1;
/// Greatest creation number of a sale: a Lua number is exact up to it.
pub const CREATION_MAX: u64 = (1 << 53) - 1;
/// Most replicas that `--redis-wait` may ask for.
pub const REDIS_WAIT_MAX: u64 = 16;
/// Time after which a core's link adds a sale to the index of sales again, with its next batch.
pub const INDEX_AGE_MS_MAX: u64 = 1_000;
/// Longest time that an audit may be given.
pub const AUDIT_TIMEOUT_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Maximum number of keys that an audit scans to find sales that are missing in the index.
pub const AUDIT_KEYS_MAX: u64 = 50_000_000;
/// Approximate number of entries about new sales that are kept for the sweeps, which read them
/// every [`SWEEP_COUNT_INTERVAL_MS`].
pub const MADE_ENTRIES_MAX: u64 = 4_096;
/// Sales that the cores may have reported to their server's sweep; beyond it, the sweep checks all
/// sales.
pub const SWEEP_NOTIFIED_MAX: usize = 1_024;
/// Sales that the ledger refuses and that a server remembers with the reason.
pub const REFUSED_SALES_MAX: usize = 1_024;
/// Time between two log lines about one refused sale.
pub const REFUSED_SALE_LOG_INTERVAL_MS: u64 = 60_000;
/// Longest kept reason, in bytes.
pub const REFUSED_REASON_BYTES_MAX: usize = 1_024;
/// Refused sales that `/readyz` names.
pub const REFUSED_SALES_SHOWN_MAX: usize = 8;
/// Oldest view of a sale that `GET /v1/sales/{sale}` may show.
pub const VIEW_AGE_MS_MAX: u64 = 100;
/// Sales whose state a core keeps.
pub const SALES_MAX: usize = 16 * 1024;
/// Time without a request after which a core may forget a sale to make room for another.
pub const SALE_IDLE_MS: u64 = 10_000;
/// Time for which a core keeps a closed latch fresh without requests.
pub const LATCH_KEPT_MS: u64 = 60_000;
/// Latches that a core keeps fresh so.
pub const LATCHES_KEPT_MAX: usize = 16;
/// Sales per tick that a core queries in the background.
pub const VIEWS_PER_TICK_MAX: usize = 256;

/// Default number of changes per transaction of the orders, approximately.
pub const ORDERS_BATCH: usize = 10_000;
/// Largest setting of it: some 30 MB of rows in memory.
pub const ORDERS_BATCH_MAX: usize = 100_000;
/// Default time after which a worker's unfinished entries are claimed by another.
pub const CLAIM_AFTER_MS: u64 = 30_000;
/// Shortest and longest setting of it.
pub const CLAIM_AFTER_MS_MIN: u64 = 100;
/// See [`CLAIM_AFTER_MS_MIN`].
pub const CLAIM_AFTER_MS_MAX: u64 = 86_400_000;
/// Time after which a worker without entries that Redis has not heard of is dead and removed from
/// the group. Live workers send a command every second, for a removed sale every minute.
pub const CONSUMER_GONE_MS: u64 = 3_600_000;
/// Time within which a worker of a group was active, so that the group counts as in use.
pub const CONSUMER_ALIVE_MS: u64 = 10_000;
/// Default of the time without Redis or database after which `stampede orders --once` gives up.
pub const ORDERS_ONCE_AWAY_MS: u64 = 60_000;
/// Shortest and longest setting of it.
pub const ORDERS_AWAY_MS_MIN: u64 = 1_000;
/// See [`ORDERS_AWAY_MS_MIN`].
pub const ORDERS_AWAY_MS_MAX: u64 = 86_400_000;
/// Longest name of a consumer group and of a worker in it.
pub const GROUP_BYTES_MAX: usize = 128;

/// Age up to which trimming keeps entries of a stream: an audit may still have to read them.
pub const STREAM_KEEP_MS: u64 = 60_000;
/// Approximate number of entries per trimming of a stream.
pub const STREAM_TRIM_MAX: usize = 10_000;

/// Default time for which a server that is shutting down serves on without being ready.
pub const DRAIN_DELAY_MS: u64 = 0;
/// Default time for a drain.
pub const DRAIN_DEADLINE_MS: u64 = 30_000;
/// Descriptors reserved for other uses than connections: ledger, logs, listeners, control, refused
/// connections.
pub const DESCRIPTORS_RESERVE: u64 = 64;
/// Connections beyond the limit that are answered with a refusal; of still more connections nothing
/// is read.
pub const REFUSED_CONNECTIONS_MAX: usize = 16;
/// Stack of a coroutine. Only touched pages cost memory, and a core has a few coroutines, so this is
/// generous: docs/internals/measurements.md has what they touch.
pub const STACK_BYTES: usize = 64 * 1024;
/// Stack of a coroutine on which a TLS handshake may run: a core's leader, its link to the ledger.
pub const HANDSHAKE_STACK_BYTES: usize = 256 * 1024;
/// Approximate number of reservations that one sweep returns to stock.
pub const EXPIRE_BATCH_MAX: u32 = 1024;
/// Interval at which the sweep counts the sales.
pub const SWEEP_COUNT_INTERVAL_MS: u64 = 250;
/// Interval at which the sweep lists the sales, if their number is the same.
pub const SWEEP_SCAN_INTERVAL_MS: u64 = 1_000;
/// Time for an answer to the sweep with a Cluster, where one node must not delay the others. Its
/// commands take some milliseconds.
pub const SWEEP_CLUSTER_ANSWER_DEADLINE_MS: u64 = 2_000;
/// Sales that the sweep checks per round trip, during which Redis serves nothing else: some
/// milliseconds.
pub const SWEEP_SALES_MAX: usize = 64;
/// Approximate minimum of reservations that the sweep returns to stock for one of many sales.
pub const SWEEP_EXPIRE_MIN: u32 = 16;
/// Shortest time between two checks of a sale with nothing left to return: what expires meanwhile
/// is returned together.
pub const SWEEP_PAUSE_MS_MIN: u64 = 100;
/// Longest time between two checks of a sale: the ledger's clock may be set, and the sale may be
/// changed by hand.
pub const SWEEP_PAUSE_MS_MAX: u64 = 60_000;
/// Time after which the sweep checks a refused sale again.
pub const SWEEP_RETRY_MS: u64 = 1_000;
/// Duration of a member's lease, by the ledger's clock.
pub const LEASE_MS: u64 = 5_000;
/// Time between two renewals of a lease.
pub const LEASE_RENEW_INTERVAL_MS: u64 = 1_000;
/// Time for the ledger's answer to a renewal: there is time for another one before the lease
/// expires.
pub const LEASE_ANSWER_DEADLINE_MS: u64 = 1_000;
/// Time at the end of the server for releasing its lease. Otherwise the lease expires by itself.
pub const LEASE_END_DEADLINE_MS: u64 = 1_000;
/// Members that share a ledger. Each reads all of them at every renewal, so the cost grows with the
/// square of their number. A further server can sell, but is not listed.
pub const MEMBERS_MAX: usize = 256;
/// Most cores that are accepted for a member.
pub const MEMBER_CORES_MAX: u64 = 4_096;
/// Longest name of a member, in bytes.
pub const MEMBER_NAME_BYTES_MAX: usize = 128;
/// Listening addresses that a member publishes.
pub const MEMBER_ADDRESSES_MAX: usize = 8;
/// Default of the allowance beyond an instance's fair share, in percent, as in the article: its
/// hundred servers have 150 each for a share of 100. So a third of them may fail, and the others
/// can still ask for all units.
pub const STOCK_BUFFER_PERCENT: u64 = 50;
/// Largest setting of it.
pub const STOCK_BUFFER_PERCENT_MAX: u64 = 1_000;
/// Configured sales that are created or checked at the same time.
pub const START_SALES_MAX: usize = 256;
/// More descriptors reserved per core: its poll, its waker, its listeners, its ledger.
pub const DESCRIPTORS_RESERVE_PER_CORE: u64 = 8;
/// More descriptors reserved per core, and per each of [`CLUSTER_CLIENTS`], with a Cluster:
/// connections to this many primaries. Beyond it, they use what connections leave.
pub const DESCRIPTORS_RESERVE_CLUSTER: u64 = 16;
/// Threads of a server with a client of the ledger, besides its cores: the sweep, the control port,
/// and two to spare.
pub const CLUSTER_CLIENTS: u64 = 4;

/// Shortest and longest setting of a connection's deadlines (idle, head, body, write): half a
/// second, which is many ticks, and an hour.
pub const CONNECTION_DEADLINE_MS_MIN: u64 = 500;
/// See [`CONNECTION_DEADLINE_MS_MIN`].
pub const CONNECTION_DEADLINE_MS_MAX: u64 = 3_600_000;
/// Shortest and longest setting of the ledger's answer time: the resolution of the tick, and a
/// minute.
pub const LEDGER_DEADLINE_MS_MIN: u64 = 2 * TICK_INTERVAL_MS;
/// See [`LEDGER_DEADLINE_MS_MIN`].
pub const LEDGER_DEADLINE_MS_MAX: u64 = 60_000;
/// Longest setting of the drain: an hour. The shortest is 0: stop at once.
pub const DRAIN_DEADLINE_MS_MAX: u64 = 3_600_000;
/// Longest setting of the delay before it: enough for a balancer that checks every minute.
pub const DRAIN_DELAY_MS_MAX: u64 = 300_000;
/// Largest setting of the connections of an instance, whatever the file limit.
pub const CONNECTIONS_MAX: u64 = 1 << 24;
/// Longest path of a Unix socket: what `sun_path` holds besides its last NUL (unix(7)).
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Most networks of proxies that settings name.
pub const TRUSTED_PROXIES_MAX: usize = 64;
/// Most addresses that an instance listens on.
pub const LISTEN_MAX: usize = 64;
/// Longest name of a counters key or field in Redis, in bytes, before `{sale}` is filled in.
pub const COUNTER_NAME_BYTES_MAX: usize = 128;
/// Largest configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Connections of the control port. Each takes a descriptor of [`DESCRIPTORS_RESERVE`].
pub const CONTROL_CONNECTIONS_MAX: usize = 20;
/// Connections beyond that which are answered with a refusal.
pub const CONTROL_REFUSED_MAX: usize = 4;
/// Memory per silent or idle connection: its state, and its slot in the table of its core, with the
/// room that the table reserves when it grows.
pub const IDLE_CONNECTION_BYTES: usize = 272;
/// Maximum memory per connection without TLS: it also keeps input, of which a body is the largest,
/// and a buffer of answers, which grows by doubling.
pub const CONNECTION_BYTES_MAX: usize =
    IDLE_CONNECTION_BYTES + 2 * READ_BUFFER_BYTES + BODY_BYTES_MAX + 2 * OUT_BUFFER_BYTES_MAX;
/// Memory that rustls keeps per connection in its handshake: 5.2 KiB with TLS 1.3, 3.1 with 1.2;
/// rounded up.
pub const TLS_HANDSHAKE_BYTES: usize = 7 * 1024;
/// The same after the handshake: 4.1 KiB.
pub const TLS_SESSION_BYTES: usize = 5 * 1024;
/// Memory block for [`TLS_RECEIVED_BYTES_MAX`]: the allocator's next larger size.
pub const TLS_RECEIVED_BLOCK_BYTES: usize = 20 * 1024;
/// Maximum memory per connection in its handshake, with an incomplete message.
pub const TLS_HANDSHAKE_BYTES_MAX: usize =
    IDLE_CONNECTION_BYTES + TLS_HANDSHAKE_BYTES + TLS_RECEIVED_BLOCK_BYTES;
/// Maximum memory per connection over TLS: also an incomplete record, and more input, since a
/// record is decrypted as a whole.
pub const TLS_CONNECTION_BYTES_MAX: usize =
    CONNECTION_BYTES_MAX + TLS_SESSION_BYTES + TLS_RECEIVED_BLOCK_BYTES + RECORDS_BUFFER_BYTES;
/// Memory of a request that waits for the ledger, beyond its connection, with a user and a key of
/// usual length (13 and 36 bytes): its record, its command, and its response options.
pub const WAITING_BYTES: usize = 512;
/// Maximum of that: with the longest user and key, and all pipelined input. With TLS that may be
/// [`RECORDS_BUFFER_BYTES`] more.
pub const WAITING_BYTES_MAX: usize =
    WAITING_BYTES + USER_BYTES_MAX + KEY_BYTES_MAX + READ_BUFFER_BYTES;
/// Memory that the allocator holds without need, and that code and stacks touch first under load.
pub const ALLOCATOR_SLACK_BYTES: usize = 4 * 1024 * 1024;

/// The most by which the server's memory grows while strangers hold this many silent connections to
/// the public port and do what they like at the control port: the silent connections, all
/// connections of the control port with full buffers, and the allocator's slack.
pub const fn strangers_bytes_max(silent_connections: usize) -> usize {
    silent_connections * IDLE_CONNECTION_BYTES
        + (CONTROL_CONNECTIONS_MAX + CONTROL_REFUSED_MAX) * CONNECTION_BYTES_MAX
        + ALLOCATOR_SLACK_BYTES
}

/// Requests that wait for each control thread. Beyond it: 503 `busy`.
pub const CONTROL_WAITING_MAX: usize = 64;
/// Interval at which a control thread drops old snapshots.
pub const CONTROL_SWEEP_INTERVAL_MS: u64 = 500;
/// Time at the end of the server for the control port's pending requests.
pub const CONTROL_STOP_MS: u64 = 2_000;
/// Age up to which the public list of sales is shown without reading the ledger.
pub const CATALOGUE_AGE_MS: u64 = 1_000;
/// Requests that may wait for it to be read.
pub const CATALOGUE_WAITING_MAX: usize = 1_024;
/// Default number of sales in a list of the control port.
pub const CONTROL_PAGE_DEFAULT: usize = 100;
/// Most sales in a list of the control port.
pub const CONTROL_PAGE_MAX: usize = 1_000;
/// Sales in the table of the live page, unless asked for.
pub const LIVE_PAGE_DEFAULT: usize = 20;
/// Most sales in the table of the live page.
pub const LIVE_PAGE_MAX: usize = 100;
/// Age up to which the numbers of the server are shown to one more live page.
pub const LIVE_AGE_MS: u64 = 500;
/// Servers that the live page lists.
pub const LIVE_SERVERS_MAX: usize = 64;
/// Shortest and longest time between two refreshes of `sale show --watch`.
pub const WATCH_INTERVAL_MS_MIN: u64 = 100;
/// See [`WATCH_INTERVAL_MS_MIN`].
pub const WATCH_INTERVAL_MS_MAX: u64 = 3_600_000;
/// Most reservations in a list of the control port.
pub const CONTROL_RESERVATIONS_PAGE_MAX: usize = 10_000;
/// Time for which the control port keeps a sale's reservations for the next page of a list.
pub const CONTROL_SNAPSHOT_MS: u64 = 30_000;
/// Shortest and longest token of the control port, in bytes.
pub const CONTROL_TOKEN_BYTES_MIN: usize = 16;
/// See [`CONTROL_TOKEN_BYTES_MIN`].
pub const CONTROL_TOKEN_BYTES_MAX: usize = 512;
/// Origins of web pages that may read answers.
pub const CORS_ORIGINS_MAX: usize = 64;
/// Tokens of a shop at a time: the current one, the next one, and some to spare.
pub const SHOP_TOKENS_MAX: usize = 8;
/// Longest answer of a control port that a command accepts, in bytes.
pub const CONTROL_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(REQUEST_LINE_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(TLS_RECEIVED_BYTES_MAX <= TLS_RECEIVED_BLOCK_BYTES);
const _: () = assert!(TLS_RECEIVED_BYTES_MAX + READ_BUFFER_BYTES / 2 <= RECORDS_BUFFER_BYTES);
const _: () = assert!(READS_PER_TURN_MAX > 0);
const _: () = assert!(0 < REQUESTS_AT_ONCE_MAX && REQUESTS_AT_ONCE_MAX < REQUESTS_PER_TURN_MAX);
// A lingering connection has one turn per tick, and time to be read to the last discarded byte.
const _: () = assert!(
    LINGER_BYTES_MAX as u64 / (READS_PER_TURN_MAX * OUT_BUFFER_BYTES) as u64 * TICK_INTERVAL_MS
        < LINGER_DEADLINE_MS
);
const _: () = assert!(BATCH_SCRIPTS_MAX <= BATCH_MAX && BATCH_SCRIPTS_MAX >= 64);
const _: () = assert!(0 < BATCH_PEEKS_MAX && BATCH_PEEKS_MAX <= BATCH_SCRIPTS_MAX);
const _: () = assert!(RESPONSE_BYTES_MAX < OUT_BUFFER_BYTES_MAX);
const _: () = assert!(DEMO_TICKETS <= TOTAL_MAX);
const _: () = assert!(DEMO_HOLD_MS_MIN <= DEMO_HOLD_MS && DEMO_HOLD_MS <= HOLD_MS_MAX);
const _: () = assert!(TICK_INTERVAL_MS < VIEW_AGE_MS_MAX);
const _: () = assert!(CLUSTER_RETRY_MS < CLUSTER_PATIENCE_MS);
const _: () = assert!(CLUSTER_REFRESH_MS_MIN < CLUSTER_PATIENCE_MS);
const _: () = assert!(SWEEP_COUNT_INTERVAL_MS <= SWEEP_SCAN_INTERVAL_MS);
const _: () = assert!(SWEEP_PAUSE_MS_MIN < SWEEP_PAUSE_MS_MAX / 2);
const _: () = assert!(SWEEP_SALES_MAX as u32 * SWEEP_EXPIRE_MIN <= 4 * EXPIRE_BATCH_MAX);
const _: () = assert!(2 * (LEASE_RENEW_INTERVAL_MS + LEASE_ANSWER_DEADLINE_MS) < LEASE_MS);
const _: () = assert!(START_SALES_MAX <= BATCH_MAX);
const _: () = assert!(4 * TICK_INTERVAL_MS <= CONNECTION_DEADLINE_MS_MIN);
const _: () = assert!(DRAIN_CLIENT_MS < HEAD_DEADLINE_MS && DRAIN_LINGER_MS < LINGER_DEADLINE_MS);
// What clients can delay: a request until its last moment, its answer, and the time after it.
const _: () = assert!(
    DRAIN_CLIENT_MS + LEDGER_ANSWER_DEADLINE_MS + DRAIN_LINGER_MS < CONTAINER_STOP_MS / 3 * 2
);
const _: () = assert!(VIEWS_PER_TICK_MAX <= BATCH_MAX && VIEWS_PER_TICK_MAX < SALES_MAX);
const _: () = assert!(IDLE_QUEUES_MAX < SALES_MAX);
const _: () = assert!((SPLITS_MAX as usize) < BATCH_MAX);
const _: () = assert!(IDLE_DEADLINE_MS <= CONNECTION_DEADLINE_MS_MAX);
const _: () = assert!(
    (CONTROL_CONNECTIONS_MAX + CONTROL_REFUSED_MAX + REFUSED_CONNECTIONS_MAX) as u64
        <= DESCRIPTORS_RESERVE - 24
);
const _: () = assert!(CONTROL_CONNECTIONS_MAX <= CONTROL_WAITING_MAX);
// A server with 20,000 descriptors in the hands of strangers: a small part of the smallest machine.
const _: () = assert!(strangers_bytes_max(20_000) <= 16 * 1024 * 1024);
const _: () = assert!(REPLICAS_FIND_MS < LEDGER_DEADLINE_MS_MIN);
const _: () = assert!(LEDGER_DEADLINE_MS_MIN <= LEDGER_ANSWER_DEADLINE_MS);
const _: () = assert!(LEDGER_ANSWER_DEADLINE_MS <= LEDGER_DEADLINE_MS_MAX);
// A promotion is followed within a second, even without a message, when everything must be noticed
// by polling.
const _: () =
    assert!(SENTINEL_POLL_INTERVAL_MS + TERM_LOOK_INTERVAL_MS + RECONNECT_BACKOFF_MS_MIN <= 500);
const _: () = assert!(DRAIN_DEADLINE_MS <= DRAIN_DEADLINE_MS_MAX);
const _: () = assert!(ADMISSION_TOKEN_BYTES_MAX < HEAD_BYTES_MAX / 2);
// Verifying tokens takes at most a quarter of a core.
const _: () = assert!(ADMISSION_CHECKS_PER_TICK_US as u64 * 4 <= TICK_INTERVAL_MS * 1000);
