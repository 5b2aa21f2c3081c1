//! Messages between our own processes, with at most one open descriptor each: `SCM_RIGHTS` of unix(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

/// No message is larger.
pub const MAX_MESSAGE: usize = 4096;

/// Two connected sockets that keep message borders, close-on-exec.
///
/// # Errors
/// As socketpair(2).
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends a message, cut at [`MAX_MESSAGE`], and a descriptor with it.
///
/// # Errors
/// As sendmsg(2); `EPIPE` when the other end was closed.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let message = message.get(..MAX_MESSAGE).unwrap_or(message);
    let fds: Vec<i32> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[] } else { &rights[..] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Sends a message as a whole, without a descriptor: for what may be larger than [`MAX_MESSAGE`].
///
/// # Errors
/// As sendmsg(2); `EMSGSIZE` for more than the socket's buffer holds.
pub fn send_whole(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives a message that [`send`] sent, its descriptor close-on-exec. `None` when the other end was closed.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    receive_at_most(socket, MAX_MESSAGE)
}

/// As [`receive`], of a message of up to `limit` bytes; what is longer is cut.
///
/// # Errors
/// As recvmsg(2).
pub fn receive_at_most(
    socket: BorrowedFd<'_>,
    limit: usize,
) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = vec![0_u8; limit];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut received = None;
    let length = {
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                for fd in fds {
                    // SAFETY: the kernel just installed this descriptor for us; a further one would be closed here.
                    received = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        message.bytes
    };
    bytes.truncate(length);
    Ok((length > 0 || received.is_some()).then_some((bytes, received)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_message_and_its_descriptor_arrive_and_the_end_is_seen() {
        let (one, other) = socket_pair().unwrap();
        let null = crate::fds::null().unwrap();
        send(one.as_fd(), b"with", Some(null.as_fd())).unwrap();
        send(one.as_fd(), b"without", None).unwrap();
        let (bytes, fd) = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!((bytes.as_slice(), fd.is_some()), (b"with".as_slice(), true));
        let (bytes, fd) = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!((bytes.as_slice(), fd.is_some()), (b"without".as_slice(), false));
        drop(one);
        assert!(receive(other.as_fd()).unwrap().is_none());
    }
}
