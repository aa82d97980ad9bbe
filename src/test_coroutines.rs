//! For unit tests: coroutines of one thread, as on a core.

use may::coroutine;

/// Runs something as a coroutine.
pub fn run<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    // SAFETY: the tests' stacks are of the default size, and nothing there is deep. Nothing that
    // belongs to a thread is held across a suspension but what stays on the worker of this coroutine.
    let coroutine = unsafe { coroutine::Builder::new().id(0).spawn(body) };
    coroutine.expect("a stack").join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        panic!("in the coroutine: {}", text.unwrap_or("a panic"))
    })
}

/// To be called by a coroutine of [`run`]: runs something as another coroutine of this thread, at
/// once and until it first suspends.
pub fn beside<T: 'static>(with: T, body: impl FnOnce(T) + Send + 'static) {
    let with = OnThisThread(with);
    let body = move || {
        let OnThisThread(with) = { with };
        body(with);
    };
    // SAFETY: as in `run`.
    unsafe { coroutine::Builder::new().spawn_local(body) }.expect("a stack");
}

struct OnThisThread<T>(T);

// SAFETY: the coroutine that it is carried into starts and stays on the thread that made it.
unsafe impl<T> Send for OnThisThread<T> {}
