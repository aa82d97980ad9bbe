//! Panics. A server survives most of them, but each is a fault, so each is noticed here.

use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static ANY: AtomicBool = AtomicBool::new(false);
static TEXTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes every panic of the process from now on, and prints none.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
        let text = info.payload().downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| info.payload().downcast_ref::<&str>().copied());
        let text = text.unwrap_or("no text");
        if let Ok(mut texts) = TEXTS.lock() {
            texts.push(format!("panic{place}: {text}"));
        }
        ANY.store(true, Ordering::Relaxed);
    }));
}

/// Whether there was a panic since they were taken.
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// Takes the texts of all panics.
pub fn take() -> Vec<String> {
    ANY.store(false, Ordering::Relaxed);
    TEXTS.lock().map(|mut texts| std::mem::take(&mut *texts)).unwrap_or_default()
}
