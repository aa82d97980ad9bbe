//! One server with its own ledger, with or without orders, on a disk with or without a bound.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::chance::Chance;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::orders::Orders;
use crate::process::{Around, Seller};
use crate::rows::{Rows, of_folder};
use crate::run::{Fault, Place};
use crate::tally::Tally;

/// See the module's header. What is dropped first is first.
pub struct Single {
    seller: Seller,
    data: PathBuf,
    /// The database to which the server writes its orders.
    orders: Option<Orders>,
    disk: Option<Disk>,
}

impl Single {
    /// A server on a folder of the lab.
    pub fn start(lab: &Arc<Lab>) -> Self {
        Self::start_with(lab, None, None)
    }

    /// The same with orders.
    pub fn with_orders(lab: &Arc<Lab>, orders: Orders) -> Self {
        Self::start_with(lab, Some(orders), None)
    }

    /// The same on a disk of its own.
    pub fn on_disk(lab: &Arc<Lab>, disk: Disk) -> Self {
        Self::start_with(lab, None, Some(disk))
    }

    fn start_with(lab: &Arc<Lab>, orders: Option<Orders>, disk: Option<Disk>) -> Self {
        let (around, folder, data) = match &disk {
            Some(disk) => (disk.around(), disk.folder().to_owned(), disk.seen_from_here()),
            None => (Around::Here, lab.folder().to_owned(), lab.folder().to_owned()),
        };
        let ledger = format!("embedded:{}", folder.join("data").display());
        let url = orders.as_ref().map(Orders::url);
        let mut options = vec!["--ledger", &ledger, "--sale", "other=1"];
        options.extend(url.iter().flat_map(|url| ["--orders", url]));
        let seller = Seller::start(lab, "server", &around, &options);
        Self { seller, data: data.join("data"), orders, disk }
    }

    fn fill_disk(&mut self, chance: &mut Chance) -> Fault {
        let disk = self.disk.as_ref().expect("a disk");
        disk.fill();
        thread::sleep(Duration::from_millis(50 + chance.below(300) as u64));
        let is_killed = chance.below(2) == 0;
        if is_killed {
            self.seller.member.kill();
        }
        disk.clear();
        if is_killed {
            self.seller.member.restart();
            return Fault::killed("server on a full disk");
        }
        Fault::starved("full disk")
    }
}

impl Place for Single {
    fn doors(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        (vec![self.seller.public()], vec![self.seller.control()])
    }

    fn disturb(&mut self, chance: &mut Chance) -> Fault {
        if self.disk.is_some() {
            return self.fill_disk(chance);
        }
        let pause = Duration::from_millis(chance.below(50) as u64);
        let member = &mut self.seller.member;
        match chance.below(12) {
            // While it starts.
            0 => {
                member.kill();
                member.start_and_kill(pause);
                member.restart();
                Fault { what: "server", kills: 2 }
            }
            1 => {
                member.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(100) + 10 * pause);
                member.signal(Signal::CONT);
                Fault::starved("server asleep")
            }
            2..6 if self.orders.is_some() => {
                self.orders.as_mut().expect("a database").kill_database(4 * pause);
                Fault::killed("PostgreSQL")
            }
            _ => {
                member.kill();
                thread::sleep(pause);
                member.restart();
                Fault::killed("server")
            }
        }
    }

    fn rows(&mut self, _sales: &BTreeSet<String>) -> Rows {
        assert_eq!(self.seller.member.terminate(), 0, "the server did not end in order");
        of_folder(&self.data)
    }

    fn check_more(&mut self, rows: &Rows, sales: &BTreeSet<String>, tally: &mut Tally) {
        tally.version = "embedded".to_owned();
        let Some(orders) = &mut self.orders else { return };
        // The server writes what is left.
        self.seller.member.restart();
        orders.check(rows, sales, tally);
        tally.version = orders.version();
        assert_eq!(self.seller.member.terminate(), 0, "the server did not end in order");
    }

    fn faults(&self) -> Vec<String> {
        self.seller.member.faults().to_vec()
    }
}
