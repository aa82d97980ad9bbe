//! A shop: servers with one Redis behind the nginx of `tuning/`, in one namespace, and the street
//! with the buyers in another.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::buyer::Buyer;
use crate::lab::{Lab, Net, Program, until};
use crate::redis_server::RedisConnection;

/// Time for a program to be ready, or to end.
pub const START: Duration = Duration::from_secs(20);
/// nginx's address for buyers.
pub const DOOR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The buyers' address.
pub const STREET: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The Redis, from within the shop.
pub const LEDGER: &str = "redis://127.0.0.1:6379/0";

/// The address of a server, from 1 on.
pub fn server_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 10 + number)
}

/// The file of `tuning/` with this name.
pub fn tuning(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(name)
}

/// A reservation as it stands in Redis.
pub struct Row {
    /// Its id, as buyers know it.
    pub id: String,
    /// Its owner: the user, with a tab and the key if it was made with one.
    pub owner: String,
}

/// The shop. Its programs end before their namespaces.
pub struct Shop {
    nginx: Option<Program>,
    _redis: Program,
    /// nginx, the servers and their Redis.
    pub inside: Net,
    /// The buyers.
    pub street: Net,
    /// All of it.
    pub lab: Lab,
}

impl Shop {
    /// A shop with a Redis and nothing else yet.
    pub fn open() -> Self {
        let mut lab = Lab::new();
        let inside = lab.net("shop");
        let street = lab.net("street");
        let (door, buyers) = (format!("{DOOR}/24"), format!("{STREET}/24"));
        lab.join((&inside, "door", &door), (&street, "walk", &buyers));
        let mut redis = inside.command("redis-server");
        redis.args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir"]);
        let mut redis = lab.start("redis", redis.arg(lab.folder()));
        redis.says("Ready to accept connections", START);
        Self { nginx: None, _redis: redis, inside, street, lab }
    }

    /// Starts the server of this number with these additional options, and waits until it sells.
    pub fn serve(&self, number: u8, options: &[&str]) -> Program {
        let address = server_address(number);
        let stat_log = self.stat_log(number);
        let control = format!("{address}:3006");
        let own = ["--control", &control, "--ledger", LEDGER, "--stat-log", &stat_log];
        let mut command = self.inside.serve(address, &[&own, options].concat());
        let mut server = self.lab.start(&format!("server-{number}"), &mut command);
        server.says("buy one", START);
        server
    }

    fn stat_log(&self, number: u8) -> String {
        self.lab.folder().join(format!("stat-{number}.log")).display().to_string()
    }

    /// Purchases that this server has answered, by its own count.
    pub fn served(&self, number: u8) -> usize {
        fs::read_to_string(self.stat_log(number)).map_or(0, |text| text.lines().count())
    }

    /// Ends the nginx before, starts one with the site of [`site`](Self::site) and this number of
    /// workers, and waits until it answers.
    pub fn nginx(&mut self, workers: u32, site: &str) {
        if let Some(mut nginx) = self.nginx.take() {
            // Not killed: its workers would live on.
            nginx.terminate(START);
        }
        self.lab.file("site.conf", site);
        let at = self.lab.folder().display();
        let around = format!(
            "daemon off; worker_processes {workers}; pid {at}/nginx.pid; error_log stderr notice;
             events {{ worker_connections 4096; }}
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
                     fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi;
                     scgi_temp_path {at}/scgi; include {at}/site.conf; }}"
        );
        let file = self.lab.file("nginx.conf", &around);
        let file = file.to_str().expect("a path in UTF-8");
        let checked = self.inside.command("nginx").args(["-t", "-c", file]).output();
        let checked = checked.expect("run nginx");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && !said.contains("[warn]"), "{said}");
        let mut nginx = self.inside.command("nginx");
        self.nginx = Some(self.lab.start("nginx", nginx.args(["-c", file])));
        let answers = || TcpStream::connect_timeout(&door(80), START).is_ok();
        until("nginx listens", START, || self.street.within(answers));
    }

    /// `tuning/nginx/stampede.conf` with these servers (each with its weight) in place of its one,
    /// and without a rate limit per address: all buyers here share an address, and log in by naming
    /// themselves.
    pub fn site(&self, servers: &[(u8, u32)]) -> String {
        let line = |(number, weight): &(u8, u32)| {
            let address = server_address(*number);
            format!("server {address}:3005 weight={weight} max_fails=1 fail_timeout=2s;\n")
        };
        let servers: String = servers.iter().map(line).collect();
        adapted(
            "nginx/stampede.conf",
            &[
                ("server 127.0.0.1:3005 max_fails=1 fail_timeout=2s;", &servers),
                ("rate=10r/s", "rate=100000r/s"),
                ("set $stampede_user \"\";", "set $stampede_user $http_x_user_id;"),
                ("burst=20 nodelay", "burst=100000 nodelay"),
            ],
        )
    }

    /// A connection to its Redis.
    pub fn redis(&self) -> RedisConnection {
        let connect = || TcpStream::connect("127.0.0.1:6379").expect("connect to Redis");
        RedisConnection::new(self.inside.within(connect))
    }

    /// The reservations of the sale `ticket`. Panics unless the audit finds no difference and the
    /// article's counter agrees.
    pub fn audited(&self) -> Vec<Row> {
        let program = env!("CARGO_BIN_EXE_stampede");
        self.inside.run(&[program, "audit", "--ledger", LEDGER]);
        let mut redis = self.redis();
        let row = |(id, stands): (String, String)| {
            // Status, quantity, deadline, owner.
            let owner = stands.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
            Row { id: format!("ticket~{id}"), owner }
        };
        let rows = redis.reservations("{ticket_hash_key}:reservations");
        let rows: Vec<Row> = rows.into_iter().map(row).collect();
        let sold = redis.text("HGET ticket_hash_key ticket_sold_nums");
        assert_eq!(sold, rows.len().to_string(), "one unit a reservation");
        rows
    }
}

/// A port of nginx.
pub fn door(port: u16) -> SocketAddr {
    (DOOR, port).into()
}

/// A buyer at nginx. The caller must be in the street's namespace.
pub fn buyer() -> Buyer {
    Buyer::connect(door(80)).expect("connect to nginx")
}

/// A file of `tuning/` with texts replaced, each of which occurs exactly once.
pub fn adapted(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(tuning(name)).expect("a file of tuning/");
    for (there, here) in changes {
        assert_eq!(text.matches(there).count(), 1, "{name}: {there}");
        text = text.replace(there, here);
    }
    text
}
