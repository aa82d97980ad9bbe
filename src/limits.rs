//! Every bound of the server, in one place, with the relations between them checked at compile time.
//!
//! A bound that can be set by the operator has its default here; a bound that can't is a constant
//! and nothing else. Units stand last in the name.

mod admission;
mod life;
mod logs;
mod moving;
mod rates;
mod sale;
mod webhooks;

pub use admission::*;
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

/// Input that one read can bring in, unless it is a body's: a head, and the empty lines that may stand
/// before it. So much of what a client pipelines is kept with its connection while a request waits.
pub const READ_BUFFER_BYTES: usize = HEAD_BYTES_MAX + 2 * EMPTY_LINES_MAX;
/// A core's buffer for responses, as it begins.
pub const OUT_BUFFER_BYTES: usize = 32 * 1024;
/// Responses a connection may have waiting; at this much it stops reading.
pub const OUT_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Longest response we produce; an out-buffer grows past its bound by one of these at the most.
pub const RESPONSE_BYTES_MAX: usize = 4 * 1024;

/// Longest record of TLS on its way to us, its header included (RFC 5246, section 6.2.3). So much of one
/// that is not whole, or of a message in several, is kept with a connection.
pub const TLS_RECEIVED_BYTES_MAX: usize = (1 << 14) + 2048 + 5;
/// A core's buffer for records: what a connection keeps of one, and what a read brings in.
pub const RECORDS_BUFFER_BYTES: usize = 24 * 1024;
/// What a balancer says of a connection at most before the client's own bytes (the PROXY protocol): its
/// addresses, and a few things more that are passed over.
pub const PROXY_HEADER_BYTES_MAX: usize = 1024;
/// Connections of a core that may wait for their handshake: a core makes some thousands a second, one
/// between two rounds of what else there is to do.
pub const HANDSHAKES_WAITING_MAX: usize = 1024;

/// Sales that metrics name; the others are told together.
pub const NAMED_SALES_MAX: usize = 100;
/// Time for which a sale that nobody asks for keeps its name there, if another needs it.
pub const NAMED_SALES_IDLE_S: u64 = 600;

/// Certificates, each with a key, of which one is shown to a client by the host that it names.
pub const TLS_PAIRS_MAX: usize = 64;
/// Days before its end from which on a certificate is warned of.
pub const CERTIFICATE_ENDS_SOON_DAYS: u64 = 14;
/// Keys of tickets in a file: one that seals, and those before and after it.
pub const TICKET_KEYS_MAX: usize = 16;
/// Time for which a client may resume with a ticket, in seconds. The keys' file says when it really ends.
pub const TICKET_LIFETIME_S: u32 = 12 * 3600;
/// Longest ticket that is looked at.
pub const TICKET_BYTES_MAX: usize = 2048;

/// Time for a whole head, from its first byte. Beyond it: 408.
pub const HEAD_DEADLINE_MS: u64 = 10_000;
/// Time for a whole body, from the end of its head. Beyond it: 408.
pub const BODY_DEADLINE_MS: u64 = 10_000;
/// Time a connection may stay silent between requests. Beyond it: closed.
pub const IDLE_DEADLINE_MS: u64 = 75_000;
/// Time a client may refuse to take what we write. Beyond it: closed.
pub const WRITE_STALL_DEADLINE_MS: u64 = 10_000;
/// Time we go on reading (and discarding) after a closing error, so that the client sees the answer.
pub const LINGER_DEADLINE_MS: u64 = 2_000;
/// Bytes we discard while lingering.
pub const LINGER_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Reads a connection may do before the others of its core have their turn.
pub const READS_PER_TURN_MAX: usize = 4;
/// Connections that give way, at most, for each that is accepted while places run out.
pub const GIVE_WAY_PER_ACCEPT: usize = 2;
/// Time in which a new connection that has sent nothing yet is no silent one: its request is on its way.
pub const NEWCOMER_MS: u64 = 100;
/// Connections that give way at one tick, at most.
pub const GIVE_WAY_PER_TICK: usize = 256;
/// Bytes of its answers a second that a client must take at least, as long as there are any that the
/// system does not take from us.
pub const TAKEN_BYTES_PER_S_MIN: u64 = 1024;
/// Requests of one connection that are answered at once: more than clients pipeline who mean well. One
/// that has more comes after the others from then on.
pub const REQUESTS_AT_ONCE_MAX: u32 = 17;
/// Requests that such a one has answered before others have their turn again.
pub const REQUESTS_PER_TURN_MAX: u32 = 64;
/// Time that they may take, about: requests that take long end a turn sooner.
pub const TURN_TIME_US: u64 = 250;
/// Time between two lines in the log about connections that can't be accepted.
pub const ACCEPT_LOG_INTERVAL_MS: u64 = 10_000;
/// Connections that a core looks at in one tick because they may be past their deadline: each takes
/// less than a tenth of a microsecond.
pub const CONNECTION_LOOKS_MAX: usize = 16 * 1024;
/// Connections that a core ends in one tick because they are: each takes some microseconds.
pub const CONNECTION_ENDS_MAX: usize = 1024;
/// Time that a drain leaves a client to finish a request, or to take its answers. Beyond it: 408, or
/// closed.
pub const DRAIN_CLIENT_MS: u64 = 2_000;
/// Time we go on reading in a drain, after an answer that closes.
pub const DRAIN_LINGER_MS: u64 = 1_000;
/// Time after which a container's runtime kills what it has told to end.
pub const CONTAINER_STOP_MS: u64 = 10_000;
/// Time between two ticks of a core: time-outs of connections and batches, latches, buffered logs.
pub const TICK_INTERVAL_MS: u64 = 50;

/// Answers after which a purchase goes on no more. One from a split sale that has not found units by then
/// is told `busy`: others were quicker each time.
pub const PURCHASE_STEPS_MAX: u32 = 64;
/// Looks for units that take several steps and run at a time on one core, each with a stack; more wait.
pub const FLOWS_MAX: usize = 64;
/// Times that one of them looks anew: others may be quicker each time.
pub const SPLIT_ROUNDS_MAX: usize = 16;

/// A sale may have this many times as many of a core's waiting places as are left. Alone it gets 8
/// of 9, two hot sales get 8 of 17 each, and a place is always left for the next.
pub const WAITING_SHARE: usize = 8;
/// Queues of sales that wait for nothing which a core keeps for the next who asks.
pub const LINES_IDLE_MAX: usize = 4_096;
/// Answered requests that go on between two rounds of events, at most; and of one batch, those that go
/// on before all others.
pub const TOLD_AT_ONCE_MAX: usize = 64;
/// Commands in one batch.
pub const BATCH_MAX: usize = 512;
/// Scripts that a ledger runs for one batch at the most, each sale in a call that several share counted:
/// Redis takes 20 to 40 us for each, whatever it does.
pub const BATCH_SCRIPTS_MAX: usize = 128;
/// Glances of one batch for Redis, which takes some 15 us for each: whoever buys waits for no more of
/// them, however many sales a tick looks at.
pub const BATCH_GLANCES_MAX: usize = 24;
/// Time for which a core may serve connections before it looks whether its ledger has answered, in
/// microseconds: a look that finds nothing takes less than one of them.
pub const URGENT_LOOK_INTERVAL_US: u64 = 500;
/// Time for the ledger's answer. Beyond it: 503 `unknown` (sent) or `busy` (not sent).
pub const LEDGER_ANSWER_DEADLINE_MS: u64 = 2_000;
/// First and longest pause between two attempts to reach a ledger that is away.
pub const RECONNECT_BACKOFF_MS_MIN: u64 = 50;
/// See [`RECONNECT_BACKOFF_MS_MIN`].
pub const RECONNECT_BACKOFF_MS_MAX: u64 = 1_000;
/// Time for a blocking client of the ledger (operator, sweep, orders) to connect and introduce itself.
pub const CLIENT_CONNECT_DEADLINE_MS: u64 = 3_000;
/// Time for a blocking client's answer, unless it asks for something that may take longer.
pub const CLIENT_ANSWER_DEADLINE_MS: u64 = 10_000;
/// Time between two lines in the log about batches that the ledger refuses.
pub const REFUSAL_LOG_INTERVAL_MS: u64 = 1_000;
/// Time between two lines in the log about the same sale's being gone from the ledger.
pub const VANISHED_LOG_INTERVAL_MS: u64 = 60_000;
/// A connection to Redis that ends while nothing is outstanding is made anew without a word if it has
/// stood for so long.
pub const IDLE_CLOSE_MS_MIN: u64 = 500;
/// Most sales whose keys are looked at when a connection to Redis is made.
pub const REDIS_SALES_CHECKED_MAX: usize = 16;
/// Most different things of a Redis that are warned of in a process.
pub const REDIS_WARNINGS_MAX: usize = 64;
/// Most servers that a Redis URL may name: some of them will do to find the others.
pub const REDIS_ENDPOINTS_MAX: usize = 32;
/// Longest name of a primary that Sentinels watch.
pub const PRIMARY_NAME_BYTES_MAX: usize = 128;
/// Nodes of a Cluster to which one core keeps connections.
pub const CLUSTER_LANES_MAX: usize = 128;
/// Time after which a core closes its connection to a node that has no slots any more.
pub const CLUSTER_LANE_IDLE_MS: u64 = 10_000;
/// Redirections of a command that are followed at once; the next one after a pause.
pub const CLUSTER_REDIRECTS_MAX: u32 = 4;
/// Shortest and longest time between two questions which node has which slot.
pub const CLUSTER_REFRESH_MS_MIN: u64 = 100;
/// See [`CLUSTER_REFRESH_MS_MIN`].
pub const CLUSTER_REFRESH_MS_MAX: u64 = 30_000;
/// Longest pause between two such questions while something is wrong and the answer stays the same.
pub const CLUSTER_REFRESH_PAUSE_MS_MAX: u64 = 2_000;
/// Time for a thread to connect to one node of a Cluster, and for its answer to that question.
pub const CLUSTER_NODE_DEADLINE_MS: u64 = 1_000;
/// Time for which a blocking client tries a command again whose slot is on its way, or whose node
/// is away: others of its round trip wait as long.
pub const CLUSTER_PATIENCE_MS: u64 = 500;
/// Pause between two such tries.
pub const CLUSTER_RETRY_MS: u64 = 20;
/// Time for a connection to a Sentinel, and for an answer of one.
pub const SENTINEL_ANSWER_DEADLINE_MS: u64 = 500;
/// How often each Sentinel is asked, also if it tells nothing.
pub const SENTINEL_POLL_INTERVAL_MS: u64 = 250;
/// How long the first Sentinel that answers waits for a majority of them.
pub const SENTINEL_MAJORITY_WAIT_MS: u64 = 1_000;
/// How long most Sentinels name another primary, in an earlier epoch, before nothing is sent to ours.
pub const SENTINEL_DISSENT_MS: u64 = 5_000;
/// How long a fresh connection waits for the replicas that a batch would wait for.
pub const REPLICAS_FIND_MS: u64 = 50;
/// How often a blocking connection looks whether its primary still is one.
pub const TERM_LOOK_INTERVAL_MS: u64 = 100;
/// Greatest epoch of Sentinels that a sale may have: what a script's number holds exactly.
pub const EPOCH_MAX: u64 = (1 << 53) - 1;
/// Greatest number of a sale's making: what a script's number holds exactly.
pub const CREATION_MAX: u64 = (1 << 53) - 1;
/// Most replicas that `--redis-wait` may ask for.
pub const REDIS_WAIT_MAX: u64 = 16;
/// Time after which a core's link adds a sale to the index of sales again, with its next batch.
pub const INDEX_AGE_MS_MAX: u64 = 1_000;
/// Longest time that an audit may be given.
pub const AUDIT_TIMEOUT_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Keys at whose names an audit looks to find sales that the index does not list.
pub const AUDIT_KEYS_MAX: u64 = 50_000_000;
/// Entries about sales that were just made which are kept for the sweeps, about: they read them every
/// [`SWEEP_COUNT_INTERVAL_MS`].
pub const MADE_ENTRIES_MAX: u64 = 4_096;
/// Sales that the cores may have told their server's sweep to look at; beyond, it looks at all.
pub const SWEEP_TOLD_MAX: usize = 1_024;
/// Sales of which a server keeps that the ledger refuses them, and why.
pub const REFUSED_SALES_MAX: usize = 1_024;
/// Time between two lines in the log about one sale that the ledger refuses.
pub const REFUSED_SALE_LOG_INTERVAL_MS: u64 = 60_000;
/// Longest reason of those that is kept, in bytes.
pub const REFUSED_REASON_BYTES_MAX: usize = 1_024;
/// Sales that `/readyz` names of those.
pub const REFUSED_SALES_SHOWN_MAX: usize = 8;
/// Oldest view of a sale that `GET /v1/sales/{sale}` may show.
pub const VIEW_AGE_MS_MAX: u64 = 100;
/// Sales whose state a core keeps.
pub const SALES_MAX: usize = 16 * 1024;
/// Time without a request after which a core may forget a sale to make room for another.
pub const SALE_IDLE_MS: u64 = 10_000;
/// Time for which a core keeps a closed latch fresh when no request meets it any more.
pub const LATCH_KEPT_MS: u64 = 60_000;
/// Latches that a core keeps so.
pub const LATCHES_KEPT_MAX: usize = 16;
/// Sales that a core asks the ledger about in the background at one tick.
pub const VIEWS_PER_TICK_MAX: usize = 256;

/// Default of the changes that are written to the orders in one transaction, about.
pub const ORDERS_BATCH: usize = 10_000;
/// Largest setting of it: some 30 MB of rows on their way.
pub const ORDERS_BATCH_MAX: usize = 100_000;
/// Default of the time after which a worker's unfinished entries go to another.
pub const CLAIM_AFTER_MS: u64 = 30_000;
/// Shortest and longest setting of it.
pub const CLAIM_AFTER_MS_MIN: u64 = 100;
/// See [`CLAIM_AFTER_MS_MIN`].
pub const CLAIM_AFTER_MS_MAX: u64 = 86_400_000;
/// A worker without entries that Redis has not heard of for this long is dead: its name is removed
/// from the group. Living ones ask every second, of a sale that was removed every minute.
pub const CONSUMER_GONE_MS: u64 = 3_600_000;
/// Of a group with a worker that was heard of within this time somebody makes use.
pub const CONSUMER_ALIVE_MS: u64 = 10_000;
/// Default of the time without Redis or database after which `stampede orders --once` gives up.
pub const ORDERS_ONCE_AWAY_MS: u64 = 60_000;
/// Shortest and longest setting of it.
pub const ORDERS_AWAY_MS_MIN: u64 = 1_000;
/// See [`ORDERS_AWAY_MS_MIN`].
pub const ORDERS_AWAY_MS_MAX: u64 = 86_400_000;
/// Longest name of a consumer group and of a worker in it.
pub const GROUP_BYTES_MAX: usize = 128;

/// Youngest entries of a stream that trimming leaves, in time: what an audit has yet to read.
pub const STREAM_KEEP_MS: u64 = 60_000;
/// Entries that one trimming of a stream takes, about.
pub const STREAM_TRIM_MAX: usize = 10_000;

/// Default time for which a server that was told to end serves on, not ready any more.
pub const DRAIN_DELAY_MS: u64 = 0;
/// Default time for a drain.
pub const DRAIN_DEADLINE_MS: u64 = 30_000;
/// Descriptors kept back from connections: ledger, logs, listeners, control, and those of connections
/// that are refused.
pub const DESCRIPTORS_RESERVE: u64 = 64;
/// Connections beyond the limit that are told so; of those beyond even this, nothing is read.
pub const REFUSED_CONNECTIONS_MAX: usize = 16;
/// Stack of a coroutine. Only touched pages cost memory, and a core has a few coroutines, so this is
/// generous: see ARCHITECTURE.md for the measurement.
pub const STACK_BYTES: usize = 64 * 1024;
/// Stack of a coroutine on which a TLS handshake may run: a core's leader, its link to the ledger.
pub const HANDSHAKE_STACK_BYTES: usize = 256 * 1024;
/// Reservations that one sweep returns to stock, about.
pub const EXPIRE_BATCH_MAX: u32 = 1024;
/// Time between two looks of the sweep at how many sales there are.
pub const SWEEP_COUNT_INTERVAL_MS: u64 = 250;
/// Time between two looks of the sweep at which sales there are, if their number is the same.
pub const SWEEP_SCAN_INTERVAL_MS: u64 = 1_000;
/// Time for an answer to the sweep with a Cluster, where one node's must not hold up those of others
/// for long. What it asks for takes some milliseconds.
pub const SWEEP_CLUSTER_ANSWER_DEADLINE_MS: u64 = 2_000;
/// Sales that the sweep looks at in one round trip, for which Redis serves nobody else: some
/// milliseconds.
pub const SWEEP_SALES_MAX: usize = 64;
/// Fewest reservations that the sweep returns to stock for one of many sales, about.
pub const SWEEP_EXPIRE_MIN: u32 = 16;
/// Shortest time between two looks of the sweep at a sale with nothing left to return: what
/// expires meanwhile returns together.
pub const SWEEP_PAUSE_MS_MIN: u64 = 100;
/// Longest time between two looks of the sweep at a sale: the ledger's clock may be set, and what
/// the sale was defined as may be changed by hand.
pub const SWEEP_PAUSE_MS_MAX: u64 = 60_000;
/// Time after which the sweep looks again at a sale that the ledger refuses.
pub const SWEEP_RETRY_MS: u64 = 1_000;
/// Time for which a member's lease is good after it was renewed, by the ledger's clock.
pub const LEASE_MS: u64 = 5_000;
/// Time between two renewals of a lease.
pub const LEASE_RENEW_INTERVAL_MS: u64 = 1_000;
/// Time for the ledger's answer to a renewal: there is time left for another before the lease ends.
pub const LEASE_ANSWER_DEADLINE_MS: u64 = 1_000;
/// Time that the end of the server waits until its lease is given up. Else it ends by itself.
pub const LEASE_END_DEADLINE_MS: u64 = 1_000;
/// Members that share a ledger. Each reads all of them at every renewal, so what they cost grows
/// with the square of their number. One more sells as well as they do, but is not listed.
pub const MEMBERS_MAX: usize = 256;
/// Most cores that a member is believed to have.
pub const MEMBER_CORES_MAX: u64 = 4_096;
/// Longest name of a member, in bytes.
pub const MEMBER_NAME_BYTES_MAX: usize = 128;
/// Addresses that a member tells of those it listens on.
pub const MEMBER_ADDRESSES_MAX: usize = 8;
/// Default of the allowance beyond an instance's fair share, in percent: the article's, whose
/// hundred servers have 150 for a share of 100. A third of them may die, and the others may still
/// ask for everything.
pub const STOCK_BUFFER_PERCENT: u64 = 50;
/// Largest setting of it.
pub const STOCK_BUFFER_PERCENT_MAX: u64 = 1_000;
/// Sales of the configuration that are looked after at the same time.
pub const START_SALES_MAX: usize = 256;
/// More descriptors kept back for each core: its poll, its wake-up, its listeners, its ledger.
pub const DESCRIPTORS_RESERVE_PER_CORE: u64 = 8;
/// More descriptors kept back for each core, and for each of [`CLUSTER_CLIENTS`], with a Cluster: a
/// connection to each of so many primaries. Beyond, they share what connections leave.
pub const DESCRIPTORS_RESERVE_CLUSTER: u64 = 16;
/// Threads of a server that speak to the ledger beside its cores: the sweep, the control port, and
/// two to spare.
pub const CLUSTER_CLIENTS: u64 = 4;

/// Shortest and longest setting of a connection's deadlines (idle, head, body, write): half a second,
/// of which a tick is little, and an hour.
pub const CONNECTION_DEADLINE_MS_MIN: u64 = 500;
/// See [`CONNECTION_DEADLINE_MS_MIN`].
pub const CONNECTION_DEADLINE_MS_MAX: u64 = 3_600_000;
/// Shortest and longest setting of the ledger's answer time: what the tick can tell apart, and a
/// minute.
pub const LEDGER_DEADLINE_MS_MIN: u64 = 2 * TICK_INTERVAL_MS;
/// See [`LEDGER_DEADLINE_MS_MIN`].
pub const LEDGER_DEADLINE_MS_MAX: u64 = 60_000;
/// Longest setting of the drain: an hour. The shortest is 0: stop at once.
pub const DRAIN_DEADLINE_MS_MAX: u64 = 3_600_000;
/// Longest setting of the time before it: a balancer that asks every minute has noticed.
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

/// Connections that the control port may have. Each takes a descriptor of [`DESCRIPTORS_RESERVE`].
pub const CONTROL_CONNECTIONS_MAX: usize = 20;
/// Connections beyond that which are told so.
pub const CONTROL_REFUSED_MAX: usize = 4;
/// Memory that a silent or idle connection takes: what is kept of it, and its place in the table of its
/// core, with the room that the table sets aside when it grows.
pub const IDLE_CONNECTION_BYTES: usize = 272;
/// Memory that a connection without TLS takes at most: it also keeps input, of which that for a body is
/// most, and a buffer of answers, which grows by doubling.
pub const CONNECTION_BYTES_MAX: usize =
    IDLE_CONNECTION_BYTES + 2 * READ_BUFFER_BYTES + BODY_BYTES_MAX + 2 * OUT_BUFFER_BYTES_MAX;
/// Memory that rustls keeps for a connection that has begun its handshake: 5.2 KiB with TLS 1.3, 3.1
/// with 1.2, and some to spare.
pub const TLS_HANDSHAKE_BYTES: usize = 7 * 1024;
/// The same after the handshake: 4.1 KiB.
pub const TLS_SESSION_BYTES: usize = 5 * 1024;
/// Memory that [`TLS_RECEIVED_BYTES_MAX`] take: the allocator's next larger block.
pub const TLS_RECEIVED_BLOCK_BYTES: usize = 20 * 1024;
/// Memory that a connection takes at most until its handshake is over: also a message that lacks its end.
pub const TLS_HANDSHAKE_BYTES_MAX: usize =
    IDLE_CONNECTION_BYTES + TLS_HANDSHAKE_BYTES + TLS_RECEIVED_BLOCK_BYTES;
/// Memory that a connection over TLS takes at most: also a record that lacks its end, and more of input,
/// since a record is opened as a whole.
pub const TLS_CONNECTION_BYTES_MAX: usize =
    CONNECTION_BYTES_MAX + TLS_SESSION_BYTES + TLS_RECEIVED_BLOCK_BYTES + RECORDS_BUFFER_BYTES;
/// Memory that a request takes while it waits for the ledger, beyond its connection, if its user and its
/// key have the usual length (13 and 36 bytes): its record, its command, and how it is to be answered.
pub const WAITING_BYTES: usize = 512;
/// The most that it takes: with the longest user and key, and all that its client may have sent behind
/// it. With TLS that may be [`RECORDS_BUFFER_BYTES`] more.
pub const WAITING_BYTES_MAX: usize =
    WAITING_BYTES + USER_BYTES_MAX + KEY_BYTES_MAX + READ_BUFFER_BYTES;
/// Memory that the allocator of a process holds without need, and what code and stacks touch first when
/// there is much to do.
pub const ALLOCATOR_SLACK_BYTES: usize = 4 * 1024 * 1024;

/// The most by which the server's memory grows while strangers hold so many silent connections to the
/// public port and do whatever they like at the control port: the silent connections, each place of the
/// control port with full buffers, and the allocator's slack.
pub const fn strangers_bytes_max(silent_connections: usize) -> usize {
    silent_connections * IDLE_CONNECTION_BYTES
        + (CONTROL_CONNECTIONS_MAX + CONTROL_REFUSED_MAX) * CONNECTION_BYTES_MAX
        + ALLOCATOR_SLACK_BYTES
}

/// Requests to the control port that wait for each of its threads. Beyond it: 503 `busy`.
pub const CONTROL_WAITING_MAX: usize = 64;
/// Time between two looks at what a control thread keeps for a client.
pub const CONTROL_SWEEP_INTERVAL_MS: u64 = 500;
/// Time that the end of the server waits for what the control port has under way.
pub const CONTROL_STOP_MS: u64 = 2_000;
/// Age up to which the public list of sales is shown without a look at the ledger.
pub const CATALOGUE_AGE_MS: u64 = 1_000;
/// Requests that may wait for it to be read.
pub const CATALOGUE_WAITING_MAX: usize = 1_024;
/// Sales in a list of the control port, unless asked for.
pub const CONTROL_PAGE_DEFAULT: usize = 100;
/// Most sales in a list of the control port.
pub const CONTROL_PAGE_MAX: usize = 1_000;
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
/// Tokens that a shop may have at a time: the one in use, the next one, and some to spare.
pub const SHOP_TOKENS_MAX: usize = 8;
/// Longest answer of a control port that a command takes, in bytes.
pub const CONTROL_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(REQUEST_LINE_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(TLS_RECEIVED_BYTES_MAX <= TLS_RECEIVED_BLOCK_BYTES);
const _: () = assert!(TLS_RECEIVED_BYTES_MAX + READ_BUFFER_BYTES / 2 <= RECORDS_BUFFER_BYTES);
const _: () = assert!(READS_PER_TURN_MAX > 0);
const _: () = assert!(0 < REQUESTS_AT_ONCE_MAX && REQUESTS_AT_ONCE_MAX < REQUESTS_PER_TURN_MAX);
// Who lingers has a turn in a tick, and time to be read to the last byte that is discarded.
const _: () = assert!(
    LINGER_BYTES_MAX as u64 / (READS_PER_TURN_MAX * OUT_BUFFER_BYTES) as u64 * TICK_INTERVAL_MS
        < LINGER_DEADLINE_MS
);
const _: () = assert!(BATCH_SCRIPTS_MAX <= BATCH_MAX && BATCH_SCRIPTS_MAX >= 64);
const _: () = assert!(0 < BATCH_GLANCES_MAX && BATCH_GLANCES_MAX <= BATCH_SCRIPTS_MAX);
const _: () = assert!(RESPONSE_BYTES_MAX < OUT_BUFFER_BYTES_MAX);
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
// What clients can hold up: a request until its last moment, its answer, and the time after it.
const _: () = assert!(
    DRAIN_CLIENT_MS + LEDGER_ANSWER_DEADLINE_MS + DRAIN_LINGER_MS < CONTAINER_STOP_MS / 3 * 2
);
const _: () = assert!(VIEWS_PER_TICK_MAX <= BATCH_MAX && VIEWS_PER_TICK_MAX < SALES_MAX);
const _: () = assert!(LINES_IDLE_MAX < SALES_MAX);
const _: () = assert!((SPLITS_MAX as usize) < BATCH_MAX);
const _: () = assert!(IDLE_DEADLINE_MS <= CONNECTION_DEADLINE_MS_MAX);
const _: () = assert!(
    (CONTROL_CONNECTIONS_MAX + CONTROL_REFUSED_MAX + REFUSED_CONNECTIONS_MAX) as u64
        <= DESCRIPTORS_RESERVE - 24
);
const _: () = assert!(CONTROL_CONNECTIONS_MAX <= CONTROL_WAITING_MAX);
// A server of 20,000 descriptors, whoever has them: a small part of the smallest machine.
const _: () = assert!(strangers_bytes_max(20_000) <= 16 * 1024 * 1024);
const _: () = assert!(REPLICAS_FIND_MS < LEDGER_DEADLINE_MS_MIN);
const _: () = assert!(LEDGER_DEADLINE_MS_MIN <= LEDGER_ANSWER_DEADLINE_MS);
const _: () = assert!(LEDGER_ANSWER_DEADLINE_MS <= LEDGER_DEADLINE_MS_MAX);
// A promotion is followed within a second, also where nothing is told and everything must be noticed.
const _: () =
    assert!(SENTINEL_POLL_INTERVAL_MS + TERM_LOOK_INTERVAL_MS + RECONNECT_BACKOFF_MS_MIN <= 500);
const _: () = assert!(DRAIN_DEADLINE_MS <= DRAIN_DEADLINE_MS_MAX);
const _: () = assert!(ADMISSION_TOKEN_BYTES_MAX < HEAD_BYTES_MAX / 2);
// Checks of tokens take a quarter of a core at the most.
const _: () = assert!(ADMISSION_CHECKS_PER_TICK_US as u64 * 4 <= TICK_INTERVAL_MS * 1000);
