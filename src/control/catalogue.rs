//! The public list of sales: read from the ledger in one go at most once a second, and only while
//! somebody asks, so that a crowd that looks at it costs the ledger no more than one that asks now and
//! then. Every page is cut from that copy, in memory, by the core that is asked.
//!
//! A ledger with many sales takes longer to read; then it is read less often (`READ_SHARE`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::api::Api;
use super::page::Page;
use super::request::{Reply, Request};
use crate::code::Code;
use crate::engine::http::{JSON, Kind, Problem, json_bytes};
use crate::engine::promise::Promise;
use crate::limits::{
    CATALOGUE_AGE_MS, CATALOGUE_WAITING_MAX, CONTROL_PAGE_DEFAULT, CONTROL_PAGE_MAX,
};
use crate::renewed::{Copy, Renewed};
use crate::sale::SaleId;

/// Age up to which a copy of the list is good enough while it is read anew.
const AGE: Duration = Duration::from_millis(CATALOGUE_AGE_MS);
/// Of the time that passes, the list is read for no more than one part in this many.
const READ_SHARE: u32 = 20;

/// All sales at one point in time.
#[derive(Default)]
pub struct Catalogue {
    /// Id and JSON, in the order of ids.
    sales: Vec<(Box<str>, Box<[u8]>)>,
    /// When it was read, and how long that took. `None`: never.
    read: Option<(Instant, Duration)>,
}

impl Catalogue {
    /// Whether it may be shown.
    fn is_fresh(&self, now: Instant) -> bool {
        self.read.is_some_and(|(at, took)| {
            now.saturating_duration_since(at) <= AGE.max(took * READ_SHARE)
        })
    }

    /// A page of it, as JSON.
    fn page(&self, page: &Page) -> Vec<u8> {
        let after = page.after.as_deref();
        let from = after.map_or(0, |after| self.sales.partition_point(|(id, _)| **id <= *after));
        let rest = &self.sales[from..];
        let shown = &rest[..rest.len().min(page.limit)];
        let mut json = Vec::from(&b"{\"sales\":["[..]);
        for (index, (_, sale)) in shown.iter().enumerate() {
            json.extend_from_slice(if index == 0 { b"" } else { b"," });
            json.extend_from_slice(sale);
        }
        json.extend_from_slice(b"],\"next\":");
        let next = shown.last().filter(|_| shown.len() < rest.len()).map(|(id, _)| id);
        json.extend_from_slice(&json_bytes(&next));
        json.extend_from_slice(b"}");
        json
    }
}

/// Reads the list when a core asks. All cores share it.
pub struct Catalogues {
    current: Arc<Renewed<Catalogue>>,
    asked: SyncSender<(Page, Promise<Reply>)>,
}

impl Catalogues {
    /// Starts the thread that reads.
    ///
    /// # Errors
    /// A thread can't be had.
    pub fn start(api: Api) -> io::Result<Self> {
        let current = Arc::new(Renewed::new(Catalogue::default()));
        let (asked, waiting) = sync_channel(CATALOGUE_WAITING_MAX);
        let theirs = current.clone();
        let run = move || run(api, &theirs, &waiting);
        thread::Builder::new().name("sales-list".into()).spawn(run)?;
        Ok(Self { current, asked })
    }

    /// A core's view of it.
    pub fn of_core(self: Arc<Self>) -> CoreCatalogue {
        CoreCatalogue { copy: Copy::of(self.current.clone()), all: self }
    }
}

/// What a core answers from.
pub struct CoreCatalogue {
    copy: Copy<Catalogue>,
    all: Arc<Catalogues>,
}

impl CoreCatalogue {
    /// The page that a request asks for, from memory. If there is none that is young enough, it is
    /// promised: `None`.
    ///
    /// # Errors
    /// The request is wrong, or too many wait.
    pub fn show(
        &self,
        request: &Request,
        promise: impl FnOnce() -> Promise<Reply>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let page = Page::read(request, CONTROL_PAGE_DEFAULT, CONTROL_PAGE_MAX)?;
        if let Some(after) = &page.after {
            SaleId::new(after).map_err(|error| Problem::invalid("after", format!("{error}.")))?;
        }
        let catalogue = self.copy.get();
        if catalogue.is_fresh(Instant::now()) {
            return Ok(Some(catalogue.page(&page)));
        }
        drop(catalogue);
        self.all.asked.try_send((page, promise())).map(|()| None).map_err(|error| match error {
            TrySendError::Full(_) => {
                Problem::new(Code::Busy, "Too many requests wait for the list; ask again.")
            }
            TrySendError::Disconnected(_) => Problem::of(Kind::INTERNAL),
        })
    }
}

fn run(mut api: Api, current: &Renewed<Catalogue>, waiting: &Receiver<(Page, Promise<Reply>)>) {
    // The copy of this thread is the newest: nobody else sets it.
    let mut newest = Arc::new(Catalogue::default());
    while let Ok((page, promise)) = waiting.recv() {
        if !newest.is_fresh(Instant::now()) {
            match read(&mut api) {
                Ok(catalogue) => {
                    newest = Arc::new(catalogue);
                    current.share(newest.clone());
                }
                Err(problem) => {
                    promise.keep(problem.into());
                    continue;
                }
            }
        }
        promise.keep(Reply::media(JSON, newest.page(&page)));
    }
}

fn read(api: &mut Api) -> Result<Catalogue, Problem> {
    let began = Instant::now();
    let all = api.all_sales()?;
    let sales = all.iter().map(|sale| (sale.id().into(), json_bytes(sale).into())).collect();
    Ok(Catalogue { sales, read: Some((began, began.elapsed())) })
}

#[cfg(test)]
impl CoreCatalogue {
    /// One that nobody reads.
    pub fn empty() -> Self {
        let (asked, _) = sync_channel(1);
        let current = Arc::new(Renewed::new(Catalogue::default()));
        Arc::new(Catalogues { current, asked }).of_core()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let sale = |id: &str| (id.into(), format!("{{\"id\":{id:?}}}").into_bytes().into());
        let sales = ["a", "b", "c"].map(sale).into();
        let catalogue = Catalogue { sales, read: None };
        let page = |after: Option<&str>, limit| {
            let page = Page { after: after.map(str::to_owned), limit, user: None };
            String::from_utf8(catalogue.page(&page)).expect("JSON")
        };
        let [a, b, c] = ["a", "b", "c"].map(|id| format!("{{\"id\":\"{id}\"}}"));
        let said = |sales: &str, next: &str| format!("{{\"sales\":[{sales}],\"next\":{next}}}");
        assert_eq!(page(None, 2), said(&format!("{a},{b}"), "\"b\""));
        assert_eq!(page(Some("b"), 2), said(&c, "null"));
        assert_eq!(page(Some("aa"), 1), said(&b, "\"b\""));
        assert_eq!(page(Some("c"), 2), said("", "null"));
        assert_eq!(page(None, 3), said(&format!("{a},{b},{c}"), "null"));
    }

    #[test]
    fn what_took_long_to_read_is_shown_for_longer() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let is_fresh = |took, age| {
            let read = Some((now, took));
            Catalogue { sales: Vec::new(), read }.is_fresh(now + age)
        };
        assert!(is_fresh(Duration::ZERO, AGE) && !is_fresh(Duration::ZERO, AGE + second));
        assert!(is_fresh(second, second * READ_SHARE));
        assert!(!is_fresh(second, second * READ_SHARE + second));
        assert!(!Catalogue::default().is_fresh(now), "it was never read");
    }
}
