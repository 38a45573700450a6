//! Timers, posted work, listeners and connects.

use crate::operation::{Operation, on_accept, on_connect, on_work};
use crate::seeing::{Told, metrics};
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
    ListenWith { host: Host, no_callback: bool, own_port: bool, size: Size, numbers: [u8; 9] },
    ListenerMetrics { size: u16, no_handle: bool },
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

/// How large a listener's options say that they are.
#[derive(Debug, Arbitrary)]
pub(crate) enum Size {
    /// NULL
    None,
    Exact,
    /// An older header's, or one that is too small for its own field.
    Shorter(u8),
    /// A newer header's, without anything that the library does not know.
    Longer,
    /// A newer header's, with something that the library does not know.
    Unknown(u8),
    /// The field that is kept for later is not 0.
    Reserved,
}

/// The options of a newer header.
#[repr(C)]
struct LongerOptions {
    known: ASYNC_SOCKET_LISTENER_OPTIONS,
    unknown: [u8; 24],
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
    is_stopped: bool,
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
            BeyondCall::ListenWith { host, no_callback, own_port, size, numbers } => {
                self.listen_with(host, *no_callback, port(own_port), size, *numbers);
            }
            BeyondCall::ListenerMetrics { size, no_handle } => self.metrics(*size, *no_handle),
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
                self.is_stopped |= refused == 0;
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
        self.keep(listener, operation);
    }

    fn keep(&mut self, listener: ASYNC_SOCKET_LISTENER_HANDLE, operation: Box<Operation>) {
        if listener.is_null() {
            operation.never();
        } else {
            (self.listener, self.is_stopped) = (Some((listener, operation)), false);
        }
    }

    fn listen_with(
        &mut self,
        host: &Host,
        no_callback: bool,
        completion_port: COMPLETION_PORT_HANDLE,
        size: &Size,
        numbers: [u8; 9],
    ) {
        if self.listener.is_some() || matches!(host, Host::None) {
            return;
        }
        let all = size_of::<ASYNC_SOCKET_LISTENER_OPTIONS>();
        let [backlog, reuse_port, no_delay, seconds, interval, probes, timeout, send, receive] = numbers.map(u32::from);
        let known = ASYNC_SOCKET_LISTENER_OPTIONS {
            size: match size {
                Size::None | Size::Exact | Size::Reserved => all,
                Size::Shorter(size) => usize::from(*size) % all,
                Size::Longer | Size::Unknown(_) => size_of::<LongerOptions>(),
            },
            completion_port,
            backlog,
            reuse_port: reuse_port % 2,
            no_delay: no_delay % 2,
            // Each may be refused by the kernel when a connection comes, which is then reported.
            keep_alive_seconds: seconds,
            keep_alive_interval_seconds: interval,
            keep_alive_probes: probes,
            user_timeout_milliseconds: timeout,
            send_buffer_bytes: send << 12,
            receive_buffer_bytes: receive << 12,
            reserved: u32::from(matches!(size, Size::Reserved)),
        };
        let mut options = LongerOptions { known, unknown: [0; 24] };
        if let Size::Unknown(place) = size {
            options.unknown[usize::from(*place) % 24] = 1;
        }
        let pointer_to = if matches!(size, Size::None) { null() } else { (&raw const options).cast() };
        let (text, operation) = (host.text(), Operation::new(&[]));
        let accept: ON_ASYNC_SOCKET_ACCEPT = if no_callback { None } else { Some(on_accept) };
        let context = operation.context();
        // SAFETY: NUL-terminated; NULL or as long as the options say; the context is kept until the listener is gone.
        let listener =
            unsafe { async_socket_listener_start_with(pointer(text.as_deref()), 0, pointer_to, accept, context) };
        let understood = match size {
            Size::None | Size::Exact | Size::Longer => true,
            // Not within a field: the size itself, the port, and the numbers.
            Size::Shorter(_) => known.size == 8 || known.size >= 16 && known.size % 4 == 0,
            Size::Unknown(_) | Size::Reserved => false,
        };
        let right = matches!(host, Host::Loopback) && !no_callback && understood;
        assert!(right == !listener.is_null() || understood && !no_callback && matches!(host, Host::Loopback6));
        self.keep(listener, operation);
    }

    fn metrics(&self, size: u16, no_handle: bool) {
        let Some((handle, operation)) = &self.listener else { return };
        let calls = u64::from(operation.calls());
        let handle = if no_handle { null_mut() } else { *handle };
        // SAFETY: NULL or a valid handle; there is room.
        let told = metrics(size, |place, size| unsafe { async_socket_listener_get_metrics(handle, place, size) });
        assert_eq!(matches!(told, Told::Refused), no_handle);
        let Told::All(now) = told else { return };
        assert!(now.accepted + now.failed_clients + now.pauses >= calls, "{now:?}");
        assert_eq!(now.is_accepting, u64::from(!self.is_stopped));
        assert!(now.is_paused <= now.is_accepting && now.is_paused <= now.pauses, "{now:?}");
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
