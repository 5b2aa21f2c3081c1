//! A network namespace in which every address is a local one, and who listens in it: rtnetlink(7), sock_diag(7).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// The one address that such a namespace has of its own, from which all connections in it come: the dummy address of RFC
/// 7600. That it is none that anybody connects to keeps a socket from connecting to itself.
pub const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// The same for IPv6, of the prefix that is discarded (RFC 6666).
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);

// Values of linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h and linux/sock_diag.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const BY_FAMILY: u16 = 20;
/// A namespace's first interface is its loopback.
const LOOPBACK: u32 = 1;
const HEADER: usize = 16;

/// Makes every address of this process's network namespace, a new one, an address of its own.
///
/// # Errors
/// As the kernel answers. A kernel without IPv6 has the other half alone, and that is no error.
pub fn all_is_local() -> io::Result<()> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
    let up: u32 = 1; // IFF_UP
    let mut link = vec![0_u8; 4];
    for word in [LOOPBACK, up, up] {
        link.extend(word.to_ne_bytes());
    }
    netlink.ask(NEW_LINK, 0, &link)?;
    let v4 = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(OWN_V4)];
    netlink.make_local(v4, 8)?;
    // Sockets may be bound to addresses that are local by the route only.
    match fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0")?;
    netlink.make_local([IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(OWN_V6)], 128)
}

/// Where somebody listens for TCP connections in this process's network namespace, and as whom.
///
/// # Errors
/// As the kernel answers; `ENOENT` for one that was built without tcp_diag.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkSockDiag)?;
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let listening: u32 = 1 << 10; // TCP_LISTEN
        // struct inet_diag_req_v2, of which only the beginning is not zero.
        let mut request = vec![0_u8; 56];
        let head = [byte(family), byte(libc::IPPROTO_TCP), 0, 0];
        let states = listening.to_ne_bytes();
        for (place, value) in request.iter_mut().zip(head.into_iter().chain(states)) {
            *place = value;
        }
        netlink.dump(BY_FAMILY, &request, &mut |answer| all.extend(Listener::read(answer)))?;
    }
    Ok(all)
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its address; unspecified for any.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Who made it.
    pub uid: u32,
}

impl Listener {
    /// Of a struct inet_diag_msg.
    fn read(answer: &[u8]) -> Option<Self> {
        let port = u16::from_be_bytes(answer.get(4..6)?.try_into().ok()?);
        let address = match i32::from(*answer.first()?) {
            libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(answer.get(8..12)?).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(answer.get(8..24)?).ok()?),
        };
        let uid = u32::from_ne_bytes(answer.get(64..68)?.try_into().ok()?);
        Some(Listener { address, port, uid })
    }
}

struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Takes the loopback's address away, gives it `own`, and makes all of the family local.
    fn make_local(&mut self, [loopback, own]: [IpAddr; 2], loopback_prefix: u8) -> io::Result<()> {
        let address = |address: IpAddr, prefix: u8| {
            let mut message = vec![family(address), prefix, 2, 0]; // IFA_F_NODAD
            message.extend(LOOPBACK.to_ne_bytes());
            attribute(&mut message, 2, &octets(address)); // IFA_LOCAL
            attribute(&mut message, 1, &octets(address)); // IFA_ADDRESS
            message
        };
        match self.ask(DELETE_ADDRESS, 0, &address(loopback, loopback_prefix)) {
            Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            other => other?,
        }
        let whole = if own.is_ipv4() { 32 } else { 128 };
        self.ask(NEW_ADDRESS, CREATE, &address(own, whole))?;
        // struct rtmsg: to everything, in the table `local`, of scope host, of type RTN_LOCAL.
        let mut route = vec![family(own), 0, 0, 0, 255, 4, 254, 2, 0, 0, 0, 0];
        attribute(&mut route, 4, &LOOPBACK.to_ne_bytes()); // RTA_OIF
        attribute(&mut route, 7, &octets(own)); // RTA_PREFSRC
        self.ask(NEW_ROUTE, CREATE, &route)
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::new();
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        sendto(self.socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, flags | ACK, body)?;
        self.receive(&mut |_| {})
    }

    fn dump(&mut self, kind: u16, body: &[u8], each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.send(kind, DUMP, body)?;
        self.receive(each)
    }

    /// Reads messages to the one that says how it went.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0_u8; 32 << 10];
        let cut = || io::Error::from_raw_os_error(libc::EPROTO);
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while rest.len() >= HEADER {
                let word = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
                let size = usize::try_from(word(0).unwrap_or(0)).unwrap_or(0);
                let kind = word(4).unwrap_or(0).to_ne_bytes();
                let kind = u16::from_ne_bytes([kind[0], kind[1]]);
                let body = rest.get(HEADER..size).ok_or_else(cut)?;
                match kind {
                    ERROR | DONE => {
                        let code = body.get(..4).and_then(|code| code.try_into().ok());
                        return match code.map_or(0, i32::from_ne_bytes) {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                        };
                    }
                    _ => each(body),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

fn byte(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(0)
}

fn family(address: IpAddr) -> u8 {
    byte(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Adds a struct rtattr; what is here is of whole words.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::{self, Kind};
    use crate::process::{Ended, fork_for_test};
    use std::net::TcpListener;

    #[test]
    fn listeners_are_seen_with_their_address_and_their_user() {
        let child = fork_for_test(|| {
            namespaces::leave_for_new(Kind::Net).unwrap();
            all_is_local().unwrap();
            assert_eq!(listeners().unwrap(), []);
            let _one = TcpListener::bind("127.0.0.1:9000").unwrap();
            let _two = TcpListener::bind("[::1]:9001").unwrap();
            let _any = TcpListener::bind("0.0.0.0:9002").unwrap();
            let mut seen = listeners().unwrap();
            seen.sort_by_key(|listener| listener.port);
            let listener = |address: &str, port| Listener { address: address.parse().unwrap(), port, uid: 0 };
            let wanted = [listener("127.0.0.1", 9000), listener("::1", 9001), listener("0.0.0.0", 9002)];
            assert_eq!(seen, wanted);
            0
        });
        assert_eq!(child.wait().unwrap(), Ended::Exited(0));
    }
}
