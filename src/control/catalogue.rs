//! The public list of sales. It is read from the ledger as a whole, at most once per second and
//! only on demand. So many readers cost the ledger no more than one. The core that gets a request
//! cuts the page from the copy in memory.
//!
//! A ledger with many sales takes longer to read, so it is read less often (`READ_SHARE`).

use std::cell::Ref;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::api::Api;
use super::pagination::Pagination;
use super::request::{Reply, Request};
use crate::code::ErrorCode;
use crate::engine::http::{JSON, Kind, Problem, json_bytes};
use crate::engine::oneshot::Sender;
use crate::limits::{
    CATALOGUE_AGE_MS, CATALOGUE_WAITING_MAX, CONTROL_PAGE_DEFAULT, CONTROL_PAGE_MAX,
};
use crate::reloadable::{Cached, Reloadable};
use crate::sale::SaleId;
use crate::sync::{Mutex, lock};

/// Age up to which a copy may be shown while a new one is read.
const AGE: Duration = Duration::from_millis(CATALOGUE_AGE_MS);
/// The list is being read for at most one part in this many of the time.
const READ_SHARE: u32 = 20;

/// All sales at one point in time.
#[derive(Default)]
pub struct Catalogue {
    /// Id and JSON, ordered by id.
    sales: Vec<(Box<str>, Box<[u8]>)>,
    /// When it was read, and how long that took. `None`: never.
    read: Option<(Instant, Duration)>,
}

impl Catalogue {
    /// Whether it is recent enough to be shown.
    fn is_fresh(&self, now: Instant) -> bool {
        self.read.is_some_and(|(at, took)| {
            now.saturating_duration_since(at) <= AGE.max(took * READ_SHARE)
        })
    }

    /// Its age. `None`: it was never read.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.read.map(|(at, _)| now.saturating_duration_since(at))
    }

    /// All sales as JSON, ordered by id.
    pub(super) fn sales(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.sales.iter().map(|(id, sale)| (&**id, &**sale))
    }

    /// The sale with this id.
    pub(super) fn sale(&self, id: &str) -> Option<&[u8]> {
        let at = self.sales.binary_search_by(|(other, _)| (**other).cmp(id)).ok()?;
        Some(&self.sales[at].1)
    }

    /// A page, as JSON.
    fn page(&self, page: &Pagination) -> Vec<u8> {
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

/// Reads the list when a core needs it. All cores share it.
pub struct Catalogues {
    current: Arc<Reloadable<Catalogue>>,
    asked: SyncSender<Asked>,
    background: Arc<Background>,
}

/// A request to the reading thread.
enum Asked {
    /// A page of the list.
    Page(Pagination, Sender<Reply>),
    /// A recent copy, for which nobody waits.
    Copy,
}

/// State of the copy for which nobody waits.
#[derive(Default)]
struct Background {
    /// The thread was asked for it, and has not read it yet.
    is_asked: AtomicBool,
    /// Why the last attempt to read the list failed.
    problem: Mutex<Option<String>>,
}

impl Catalogues {
    /// Starts the reading thread.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(api: Api) -> io::Result<Self> {
        let current = Arc::new(Reloadable::new(Catalogue::default()));
        let (asked, waiting) = sync_channel(CATALOGUE_WAITING_MAX);
        let background = Arc::<Background>::default();
        let (theirs, their_background) = (current.clone(), background.clone());
        let run = move || run(api, &theirs, &their_background, &waiting);
        thread::Builder::new().name("sales-list".into()).spawn(run)?;
        Ok(Self { current, asked, background })
    }

    /// The part of one core.
    pub fn of_core(self: Arc<Self>) -> CoreCatalogue {
        CoreCatalogue { copy: Cached::of(self.current.clone()), all: self }
    }
}

/// The part of one core.
pub struct CoreCatalogue {
    copy: Cached<Catalogue>,
    all: Arc<Catalogues>,
}

impl CoreCatalogue {
    /// Returns the requested page from memory. `None`: the copy is too old, and the page will be sent
    /// to the given sender once the list has been read.
    ///
    /// # Errors
    /// The request is wrong, or too many wait.
    pub fn show(
        &self,
        request: &Request,
        sender: impl FnOnce() -> Sender<Reply>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let page = Pagination::read(request, CONTROL_PAGE_DEFAULT, CONTROL_PAGE_MAX)?;
        if let Some(after) = &page.after {
            SaleId::new(after).map_err(|error| Problem::invalid("after", format!("{error}.")))?;
        }
        let catalogue = self.copy.get();
        if catalogue.is_fresh(Instant::now()) {
            return Ok(Some(catalogue.page(&page)));
        }
        drop(catalogue);
        self.all.asked.try_send(Asked::Page(page, sender())).map(|()| None).map_err(|error| {
            match error {
                TrySendError::Full(_) => Problem::new(
                    ErrorCode::Busy,
                    "Too many requests are waiting for the list; try again.",
                ),
                TrySendError::Disconnected(_) => Problem::of(Kind::INTERNAL),
            }
        })
    }

    /// The newest copy, whatever its age.
    pub(super) fn newest(&self) -> Ref<'_, Catalogue> {
        self.copy.get()
    }

    /// Requests a new copy if the newest one is too old, without waiting for it. Returns why the
    /// last attempt to read the list failed, if it did.
    pub(super) fn keep_fresh(&self) -> Option<String> {
        let background = &self.all.background;
        if !self.copy.get().is_fresh(Instant::now())
            && !background.is_asked.swap(true, Ordering::Relaxed)
            && self.all.asked.try_send(Asked::Copy).is_err()
        {
            background.is_asked.store(false, Ordering::Relaxed);
        }
        lock(&background.problem).clone()
    }
}

fn run(
    mut api: Api,
    current: &Reloadable<Catalogue>,
    background: &Background,
    waiting: &Receiver<Asked>,
) {
    // Only this thread sets the list, so its copy is the newest.
    let mut newest = Arc::new(Catalogue::default());
    while let Ok(asked) = waiting.recv() {
        let failed = match newest.is_fresh(Instant::now()) {
            true => None,
            false => match read(&mut api) {
                Ok(catalogue) => {
                    newest = Arc::new(catalogue);
                    current.share(newest.clone());
                    None
                }
                Err(problem) => Some(problem),
            },
        };
        *lock(&background.problem) = failed.as_ref().map(|problem| problem.detail.to_string());
        match (asked, failed) {
            (Asked::Page(_, sender), Some(problem)) => sender.send(problem.into()),
            (Asked::Page(page, sender), None) => {
                sender.send(Reply::media(JSON, newest.page(&page)));
            }
            (Asked::Copy, _) => background.is_asked.store(false, Ordering::Relaxed),
        }
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
    /// A list that nobody reads.
    pub fn empty() -> Self {
        let (asked, _) = sync_channel(1);
        let current = Arc::new(Reloadable::new(Catalogue::default()));
        Arc::new(Catalogues { current, asked, background: Arc::default() }).of_core()
    }
}

#[cfg(test)]
impl Catalogue {
    /// A list with sales of these ids, which must be ordered.
    pub(super) fn of(ids: &[&str]) -> Self {
        let sale = |id: &&str| ((*id).into(), format!("{{\"id\":{id:?}}}").into_bytes().into());
        Self { sales: ids.iter().map(sale).collect(), read: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sales_are_listed_in_consecutive_pages() {
        let catalogue = Catalogue::of(&["a", "b", "c"]);
        let page = |after: Option<&str>, limit| {
            let page = Pagination { after: after.map(str::to_owned), limit, user: None };
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
    fn a_slowly_read_catalogue_stays_fresh_longer() {
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
