//! The layers in front of the servers: a client, a router, and edges that announce the service
//! address to it over OSPF, all as in `tuning/ospf`, with the addresses of the examples there.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::frr::Frr;
use crate::lab::{Lab, Net, Program, until};

/// The service address.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

/// Time for routes to settle.
const ROUTES_DEADLINE: Duration = Duration::from_secs(30);

/// The client's side: everything up to the links of the edges.
pub struct Front {
    /// The buyers' namespace.
    pub client: Net,
    /// The namespace that spreads connections.
    pub router: Net,
    frr: Frr,
}

/// An edge: its link, its FRR, its health script.
pub struct Edge {
    /// The server's namespace.
    pub net: Net,
    /// FRR.
    pub frr: Frr,
    number: usize,
    switch: Net,
    announce: Option<Program>,
}

/// A file of `tuning/ospf`.
fn tuning(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/ospf").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(tuning(file)).expect("a file of tuning/ospf")
}

impl Front {
    /// Builds it with this number of edges (the example's router has two), which announce nothing
    /// yet.
    pub fn build(lab: &mut Lab, edges: usize) -> (Self, Vec<Edge>) {
        let (client, router) = (lab.net("client"), lab.net("router"));
        lab.join((&router, "client", "10.80.0.1/24"), (&client, "eth0", "10.80.0.2/24"));
        client.run(&["ip", "route", "add", "default", "via", "10.80.0.1"]);
        let sysctl = tuning("router/90-stampede-router.conf");
        router.run(&["sysctl", "-q", "-p", &sysctl.display().to_string()]);
        let wires: Vec<_> = (1..=edges).map(|number| Edge::wire(lab, &router, number)).collect();
        let frr = Frr::start(lab, &router, "router", &text("router/frr.conf"));
        let edges = (1..).zip(wires).map(|(n, (net, switch))| Edge::start(lab, net, switch, n));
        let edges = edges.collect();
        (Self { client, router, frr }, edges)
    }

    /// The address to connect to.
    pub fn address(port: u16) -> SocketAddr {
        (SERVICE, port).into()
    }

    /// Waits until this number of edges are the router's neighbours, for ospfd and for bfdd.
    /// Returns how long that took.
    pub fn wait_for_neighbours(&self, count: usize) -> Duration {
        until(&format!("{count} neighbours"), ROUTES_DEADLINE, || {
            let full = self.frr.show("show ip ospf neighbor").matches(" Full/").count();
            let up = self.frr.show("show bfd peers brief").matches(" up ").count();
            (full, up) == (count, count)
        })
    }

    /// Number of routes to the service address in the router's kernel.
    pub fn ways(&self) -> usize {
        let routes = self.router.run(&["ip", "route", "show", &SERVICE.to_string()]);
        routes.matches(" via ").count()
    }

    /// Waits until there are this many. Returns how long that took.
    pub fn wait_for_ways(&self, count: usize) -> Duration {
        let what = format!("{count} ways to the service address");
        until(&what, ROUTES_DEADLINE, || self.ways() == count)
    }

    /// The output of a command of its FRR.
    pub fn show(&self, command: &str) -> String {
        self.frr.show(command)
    }
}

impl Edge {
    /// Its namespace and the switch of its link. The switch is between edge and router, so the
    /// router's carrier stays up when the edge is gone.
    fn wire(lab: &mut Lab, router: &Net, number: usize) -> (Net, Net) {
        let net = lab.net(&format!("edge{number}"));
        let switch = lab.switch(&format!("switch{number}"));
        let address = |end: u8| format!("10.80.{number}.{end}/24");
        lab.plug((&switch, "router"), (router, &format!("edge{number}"), &address(1)));
        lab.plug((&switch, "edge"), (&net, "eth0", &address(2)));
        net.run(&["ip", "route", "add", "default", "via", &format!("10.80.{number}.1")]);
        (net, switch)
    }

    fn start(lab: &Lab, net: Net, switch: Net, number: usize) -> Self {
        // The example is the first edge's.
        let config = text("edge/frr.conf")
            .replace("hostname edge1", &format!("hostname edge{number}"))
            .replace("10.80.1.", &format!("10.80.{number}."));
        let frr = Frr::start(lab, &net, &format!("edge{number}"), &config);
        Self { net, frr, number, switch, announce: None }
    }

    /// Starts the health script with these additional options.
    pub fn announce(&mut self, lab: &Lab, options: &[&str]) {
        // The priority that its unit sets.
        let mut command = self.net.command("nice");
        command.args(["-n", "-5"]).arg(tuning("announce")).args(options).arg(SERVICE.to_string());
        self.announce = Some(lab.start(&format!("edge{}-announce", self.number), &mut command));
    }

    /// Ends the health script as systemd does. When this returns, it has lingered and is gone.
    pub fn withdraw(&mut self) {
        let mut announce = self.announce.take().expect("it announces");
        assert_eq!(announce.terminate(Duration::from_secs(10)), 0);
    }

    /// Kills the health script and FRR.
    pub fn kill(&mut self) {
        if let Some(mut announce) = self.announce.take() {
            announce.kill();
        }
        self.frr.kill_all();
    }

    /// The address that a killed health script has left does not survive a boot.
    pub fn forget(&self) {
        let address = format!("{SERVICE}/32");
        self.net.run(&["ip", "address", "del", &address, "dev", "lo"]);
        self.net.run(&["ip", "route", "flush", "table", "local", "proto", "static"]);
    }

    /// Its link loses every packet, and stays up on both ends.
    pub fn cut(&self) {
        self.switch.run(&["ip", "link", "set", "router", "nomaster"]);
    }

    /// Repairs its link.
    pub fn heal(&self) {
        self.switch.run(&["ip", "link", "set", "router", "master", "switch"]);
    }
}
