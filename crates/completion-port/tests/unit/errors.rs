//! Refusals and errors as errors of `std::io`.

use completion_port::sys::Errno;
use completion_port::{AddError, ClaimError, CreatePortError, Declined, Phase, RegisterError};
use rstest::rstest;
use std::cell::Cell;
use std::error::Error;
use std::io::{self, ErrorKind};

const EMFILE: i32 = 24;

fn errno() -> io::Error {
    io::Error::from_raw_os_error(EMFILE)
}

// Tests_SRS_LENT_BUFFERS_01_009
#[rstest]
#[case::create(CreatePortError { call: "epoll_create1", source: errno() })]
#[case::unusable(RegisterError::Unusable(errno()))]
#[case::epoll(RegisterError::Kernel(errno()))]
#[case::first_operation(AddError::NotWatched(Errno::MFILE))]
fn an_error_with_an_errno_becomes_that_errno(#[case] error: impl Into<io::Error>) {
    assert_eq!(error.into().raw_os_error(), Some(EMFILE));
}

// Tests_SRS_LENT_BUFFERS_01_009
#[rstest]
#[case::register_again(RegisterError::AlreadyUsed(Phase::Removed), ErrorKind::InvalidInput)]
#[case::add_to_nothing(AddError::NotRegistered, ErrorKind::NotConnected)]
#[case::claim_of_nothing(ClaimError::NotRegistered, ErrorKind::NotConnected)]
#[case::claim_in_use(ClaimError::InUse, ErrorKind::WouldBlock)]
fn an_error_without_an_errno_has_a_kind_and_says_why<E>(#[case] error: E, #[case] expected: ErrorKind)
where
    E: Error + Into<io::Error>,
{
    let message = error.to_string();

    let converted = error.into();

    assert_eq!((converted.kind(), converted.to_string()), (expected, message));
}

// Tests_SRS_LENT_BUFFERS_01_009
#[test]
fn a_lack_of_memory_stays_one_and_needs_none() {
    let converted = io::Error::from(AddError::OutOfMemory);

    assert_eq!(converted.kind(), ErrorKind::OutOfMemory);
    assert!(converted.get_ref().is_none(), "something was boxed");
}

/// A value handed over that is neither `Sync` nor `Debug`.
struct Unshared(#[allow(dead_code, reason = "it is there to be not `Sync`")] Cell<u8>);

// Tests_SRS_LENT_BUFFERS_01_010
#[test]
fn a_refusal_is_an_error_that_says_why_and_is_passed_on_by_the_question_mark() {
    fn refuses<T>(returned: T) -> Result<(), Declined<T, RegisterError>> {
        Err(Declined { error: RegisterError::Kernel(errno()), returned })
    }
    fn boxed() -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(refuses("operation")?)
    }
    fn io() -> io::Result<()> {
        Ok(refuses(Unshared(Cell::new(1)))?)
    }

    let passed_on = boxed().expect_err("refused");
    assert_eq!(passed_on.to_string(), "the port does not take the descriptor");
    let source = passed_on.source().and_then(|source| source.downcast_ref::<io::Error>()).expect("the kernel's error");
    assert_eq!(source.raw_os_error(), Some(EMFILE));
    assert_eq!(passed_on.downcast_ref::<Declined<&str, RegisterError>>().expect("itself").returned, "operation");
    assert_eq!(io().expect_err("refused").raw_os_error(), Some(EMFILE));
}
