//! Timers, posted work, listeners and connects.

use crate::operation::{Operation, on_accept, on_connect, on_work};
use arbitrary::Arbitrary;
use async_socket::*;
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

#[derive(Debug, Arbitrary)]
pub(crate) enum BeyondCall {
    Post { own_port: bool, no_callback: bool },
    StartTimer { own_port: bool, no_callback: bool, milliseconds: u8 },
    ResetTimer { nth: u8, milliseconds: u8, no_handle: bool },
    CancelTimer { nth: u8 },
    Listen { host: Host, no_callback: bool },
    /// A number that is no listening socket.
    ListenOn(i32),
    Resume { no_handle: bool },
    StopListener { no_handle: bool, no_callback: bool },
    DestroyListener,
    Connect { host: Host, to_listener: bool, port: u16, milliseconds: u8, no_callback: bool, detaches: bool },
    CancelConnect { nth: u8 },
    /// Functions that free something ignore NULL.
    Nothing,
}

/// Hosts that need no resolver.
#[derive(Debug, Arbitrary)]
pub(crate) enum Host {
    None,
    Loopback,
    Loopback6,
    Empty,
    NotText,
    /// A path below a folder that does not exist.
    Path(Vec<u8>),
}

#[derive(Default)]
pub(crate) struct Beyond {
    posted: Vec<Box<Operation>>,
    timers: Vec<(PLATFORM_TIMER_HANDLE, Box<Operation>)>,
    /// Timers whose callback has run, is running, or is about to run.
    fired: Vec<Box<Operation>>,
    listener: Option<(ASYNC_SOCKET_LISTENER_HANDLE, Box<Operation>)>,
    /// The contexts of all listeners, and what their stops call back.
    stopped: Vec<Box<Operation>>,
    connects: Vec<(ASYNC_SOCKET_CONNECT_HANDLE, Box<Operation>)>,
    ended: Vec<Box<Operation>>,
}

impl Beyond {
    pub(crate) fn call(&mut self, call: &BeyondCall, own: COMPLETION_PORT_HANDLE) {
        let port = |is_own: &bool| if *is_own { own } else { null_mut() };
        let work = |none: &bool| -> ON_PLATFORM_WORK { if *none { None } else { Some(on_work) } };
        match call {
            BeyondCall::Post { own_port, no_callback } => {
                let operation = Operation::new(&[]);
                // SAFETY: NULL or our port; the operation is kept.
                let refused = unsafe { platform_post(port(own_port), work(no_callback), operation.context()) };
                assert_eq!(refused != 0, *no_callback);
                if refused == 0 { self.posted.push(operation) } else { operation.never() }
            }
            BeyondCall::StartTimer { own_port, no_callback, milliseconds } => {
                let (operation, time) = (Operation::new(&[]), u32::from(*milliseconds) % 8);
                // SAFETY: NULL or our port; the operation is kept.
                let timer =
                    unsafe { platform_timer_start(port(own_port), time, work(no_callback), operation.context()) };
                assert_eq!(timer.is_null(), *no_callback);
                if timer.is_null() { operation.never() } else { self.timers.push((timer, operation)) }
            }
            BeyondCall::ResetTimer { nth, milliseconds, no_handle } => {
                let Some((timer, operation)) = any(&self.timers, *nth) else { return };
                let handle = if *no_handle { null_mut() } else { *timer };
                let before = operation.calls();
                // SAFETY: NULL or a valid handle.
                let refused = unsafe { platform_timer_reset(handle, u32::from(*milliseconds) % 8) };
                assert!(refused != 0 || (!no_handle && before == 0), "what has fired cannot be moved");
            }
            BeyondCall::CancelTimer { nth } => {
                if !self.timers.is_empty() {
                    let timer = self.timers.swap_remove(usize::from(*nth) % self.timers.len());
                    self.cancel_timer(timer);
                }
            }
            BeyondCall::Listen { host, no_callback } => self.listen(host, *no_callback),
            BeyondCall::ListenOn(number) => {
                // No process has that many descriptors, and a negative number is no descriptor.
                let number = if *number < 0 { *number } else { *number | 1 << 30 };
                // SAFETY: not a descriptor.
                let listener = unsafe { async_socket_listener_start_on(number, Some(on_accept), null_mut()) };
                assert!(listener.is_null());
            }
            BeyondCall::Resume { no_handle } => {
                let handle = self.listener.as_ref().filter(|_| !no_handle).map_or(null_mut(), |it| it.0);
                // SAFETY: NULL or a valid handle. Whether it had paused depends on the machine.
                unsafe { async_socket_listener_resume(handle) };
            }
            BeyondCall::StopListener { no_handle, no_callback } => {
                let handle = self.listener.as_ref().filter(|_| !no_handle).map_or(null_mut(), |it| it.0);
                let operation = Operation::new(&[]);
                // SAFETY: NULL or a valid handle; the operation is kept.
                let refused =
                    unsafe { async_socket_listener_stop_async(handle, work(no_callback), operation.context()) };
                assert_eq!(refused != 0, handle.is_null() || *no_callback);
                if refused == 0 { self.stopped.push(operation) } else { operation.never() }
            }
            BeyondCall::DestroyListener => self.destroy_listener(),
            BeyondCall::Connect { host, to_listener, port, milliseconds, no_callback, detaches } => {
                let port = if *to_listener { self.port().unwrap_or(*port) } else { *port };
                self.connect(host, port, u32::from(*milliseconds) % 32, *no_callback, *detaches);
            }
            BeyondCall::CancelConnect { nth } => {
                if !self.connects.is_empty() {
                    let connect = self.connects.swap_remove(usize::from(*nth) % self.connects.len());
                    self.cancel_connect(connect);
                }
            }
            BeyondCall::Nothing => {
                // SAFETY: NULL is allowed.
                assert_ne!(unsafe { platform_timer_cancel(null_mut()) }, 0);
                // SAFETY: NULL is allowed.
                assert_eq!(unsafe { async_socket_listener_get_port(null_mut()) }, 0);
                // SAFETY: NULL is allowed.
                unsafe { async_socket_listener_destroy(null_mut()) };
                // SAFETY: NULL is allowed.
                unsafe { async_socket_connect_cancel(null_mut()) };
            }
        }
    }

    fn cancel_timer(&mut self, (timer, operation): (PLATFORM_TIMER_HANDLE, Box<Operation>)) {
        // SAFETY: a valid handle, which is not used again.
        if unsafe { platform_timer_cancel(timer) } == 0 { operation.never() } else { self.fired.push(operation) }
    }

    fn listen(&mut self, host: &Host, no_callback: bool) {
        if self.listener.is_some() || matches!(host, Host::None) {
            return;
        }
        let (text, operation) = (host.text(), Operation::new(&[]));
        let accept: ON_ASYNC_SOCKET_ACCEPT = if no_callback { None } else { Some(on_accept) };
        // SAFETY: NUL-terminated; the context is kept until the listener is gone.
        let listener = unsafe { async_socket_listener_start(pointer(text.as_deref()), 0, accept, operation.context()) };
        let right = matches!(host, Host::Loopback) && !no_callback;
        // A machine without IPv6 refuses its address.
        assert!(right == !listener.is_null() || matches!(host, Host::Loopback6));
        if !listener.is_null() {
            self.listener = Some((listener, operation));
        }
    }

    fn port(&self) -> Option<u16> {
        // SAFETY: a valid handle.
        self.listener.as_ref().map(|it| unsafe { async_socket_listener_get_port(it.0) }).filter(|port| *port != 0)
    }

    fn destroy_listener(&mut self) {
        if let Some((listener, context)) = self.listener.take() {
            // SAFETY: a valid handle, which is not used again.
            unsafe { async_socket_listener_destroy(listener) };
            drop(context);
        }
    }

    fn connect(&mut self, host: &Host, port: u16, milliseconds: u32, no_callback: bool, detaches: bool) {
        let (text, operation) = (host.text(), Operation::new(&[]));
        let done: ON_ASYNC_SOCKET_CONNECT_COMPLETE = if no_callback { None } else { Some(on_connect) };
        let mut handle = null_mut();
        let place = if detaches { null_mut() } else { &raw mut handle };
        let context = operation.context();
        // SAFETY: NULL or NUL-terminated; the operation is kept.
        let refused =
            unsafe { async_socket_connect_async(pointer(text.as_deref()), port, milliseconds, done, context, place) };
        if refused != 0 {
            assert!(handle.is_null(), "what is refused has no handle");
            return operation.never();
        }
        assert!(!no_callback && !matches!(host, Host::None | Host::Empty | Host::NotText));
        if detaches {
            self.ended.push(operation);
        } else {
            self.connects.push((handle, operation));
        }
    }

    fn cancel_connect(&mut self, (connect, operation): (ASYNC_SOCKET_CONNECT_HANDLE, Box<Operation>)) {
        // SAFETY: a valid handle, which is not used again.
        unsafe { async_socket_connect_cancel(connect) };
        self.ended.push(operation);
    }

    pub(crate) fn end(mut self) {
        std::mem::take(&mut self.timers).into_iter().for_each(|timer| self.cancel_timer(timer));
        std::mem::take(&mut self.connects).into_iter().for_each(|connect| self.cancel_connect(connect));
        self.destroy_listener();
        for operation in self.posted.iter().chain(&self.fired).chain(&self.ended).chain(&self.stopped) {
            operation.soon();
            operation.once();
        }
    }
}

impl Host {
    fn text(&self) -> Option<CString> {
        let text = match self {
            Self::None => return None,
            Self::Loopback => b"127.0.0.1".to_vec(),
            Self::Loopback6 => b"::1".to_vec(),
            Self::Empty => Vec::new(),
            Self::NotText => vec![0xff, 0xfe],
            Self::Path(tail) => {
                let tail = tail.iter().copied().filter(|byte| *byte != 0);
                b"/nonexistent/".iter().copied().chain(tail).collect()
            }
        };
        Some(CString::new(text).expect("no zero byte"))
    }
}

fn pointer(text: Option<&CStr>) -> *const std::ffi::c_char {
    text.map_or(null(), CStr::as_ptr)
}

fn any<T>(all: &[T], nth: u8) -> Option<&T> {
    all.get(usize::from(nth) % all.len().max(1))
}
