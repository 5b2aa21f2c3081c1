//! A listener for every port of every address of a network namespace: a program of type `BPF_PROG_TYPE_SK_LOOKUP`, which the
//! kernel asks which listening socket a new TCP connection is for. Linux 5.9; Documentation/bpf/prog_sk_lookup.rst.
//!
//! The program is the few instructions below. It gives a connection to one of two sockets, by its family, but for the
//! ports that stand in a map which it shares with this process as memory: connections to those go to whoever listens there.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::cvt;

/// One bit for each port.
const MAP_BYTES: usize = 65536 / 8;

/// While it lives, the listeners have the connections of the namespace.
#[derive(Debug)]
pub struct CatchAll {
    ports: NonNull<AtomicU8>,
    _link: OwnedFd,
}

impl CatchAll {
    /// Gives the TCP connections of the network namespace behind `network` to the listening sockets `v4` and `v6`.
    ///
    /// # Errors
    /// As bpf(2): `EPERM` without privileges, `EINVAL` for a kernel without such programs.
    pub fn new(network: BorrowedFd<'_>, v4: BorrowedFd<'_>, v6: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let ports = new_map(MAP_ARRAY, size(MAP_BYTES), 1, MAP_MMAPABLE)?;
        let sockets = new_map(MAP_SOCKMAP, 4, 2, 0)?;
        for (key, socket) in [Some(v4), v6].into_iter().enumerate() {
            if let Some(socket) = socket {
                put(&sockets, size(key), socket)?;
            }
        }
        let program = load(&program(&ports, &sockets))?;
        let mut attr = Attr::new();
        attr.word(0, program.as_raw_fd().cast_unsigned());
        attr.word(4, network.as_raw_fd().cast_unsigned());
        attr.word(8, ATTACH_SK_LOOKUP);
        let link = attr.call_for_fd(LINK_CREATE)?;
        Ok(CatchAll { ports: map_memory(&ports)?, _link: link })
    }

    /// Leaves connections to `port` to whoever listens there, or takes them again.
    pub fn leave(&self, port: u16, leave: bool) {
        let bit = 1_u8 << (port & 7);
        // SAFETY: the mapping has MAP_BYTES bytes, more than a port divided by eight can be, and lives as long as this.
        let byte = unsafe { self.ports.add(usize::from(port >> 3)).as_ref() };
        if leave {
            byte.fetch_or(bit, Ordering::Relaxed);
        } else {
            byte.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

impl Drop for CatchAll {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, has this length, and nothing refers into it any more.
        unsafe { libc::munmap(self.ports.as_ptr().cast(), MAP_BYTES) };
    }
}

// Values of linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_ARRAY: u32 = 2;
const MAP_SOCKMAP: u32 = 15;
const MAP_MMAPABLE: u32 = 1 << 10;
const PROG_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;

fn size(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `union bpf_attr`, of which the kernel takes as much as it knows if the rest is zero.
#[repr(C, align(8))]
struct Attr([u8; 72]);

impl Attr {
    fn new() -> Self {
        Attr([0; 72])
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn word(&mut self, at: usize, word: u32) {
        self.bytes(at, &word.to_ne_bytes());
    }

    fn pointer<T>(&mut self, at: usize, to: *const T) {
        self.bytes(at, &size_of_pointer(to).to_ne_bytes());
    }

    /// What the attributes point to must live through the call.
    fn call(&mut self, command: libc::c_int) -> io::Result<libc::c_long> {
        let attr = std::ptr::from_mut(self);
        // SAFETY: attr is memory of this size; the callers above see to it that what it points to lives.
        cvt(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Attr>()) })
    }

    fn call_for_fd(&mut self, command: libc::c_int) -> io::Result<OwnedFd> {
        let fd = i32::try_from(self.call(command)?).map_err(io::Error::other)?;
        // SAFETY: the kernel just made this descriptor, close-on-exec, for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn size_of_pointer<T>(to: *const T) -> u64 {
    u64::try_from(to.expose_provenance()).unwrap_or(0)
}

fn new_map(kind: u32, value: u32, entries: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::new();
    for (at, word) in [kind, 4, value, entries, flags].into_iter().enumerate() {
        attr.word(at * 4, word);
    }
    attr.call_for_fd(MAP_CREATE)
}

fn put(map: &OwnedFd, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = socket.as_raw_fd();
    let mut attr = Attr::new();
    attr.word(0, map.as_raw_fd().cast_unsigned());
    attr.pointer(8, &raw const key);
    attr.pointer(16, &raw const value);
    attr.call(MAP_UPDATE)?;
    Ok(())
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let licence = c"MIT";
    let mut attr = Attr::new();
    attr.word(0, PROG_SK_LOOKUP);
    attr.word(4, size(program.len()));
    attr.pointer(8, program.as_ptr());
    attr.pointer(16, licence.as_ptr());
    attr.bytes(48, b"vestibule");
    attr.word(68, ATTACH_SK_LOOKUP);
    attr.call_for_fd(PROG_LOAD)
}

fn map_memory(map: &OwnedFd) -> io::Result<NonNull<AtomicU8>> {
    // SAFETY: a new mapping of the map's memory, at a place of the kernel's choice.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            MAP_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            map.as_raw_fd(),
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(memory.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Where a jump goes: labels stand for instructions until all are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Pass,
    Drop,
}

/// The program. The context is `struct bpf_sk_lookup` of linux/bpf.h.
fn program(ports: &OwnedFd, sockets: &OwnedFd) -> Vec<Instruction> {
    const FAMILY: i16 = 8;
    const PROTOCOL: i16 = 12;
    const LOCAL_PORT: i16 = 60;
    const KEY: i16 = -4;
    const LOOKUP: i32 = 1; // bpf_map_lookup_elem
    const ASSIGN: i32 = 124; // bpf_sk_assign
    const RELEASE: i32 = 86; // bpf_sk_release
    // Codes of linux/bpf.h and linux/bpf_common.h.
    const LOAD_MAP: u8 = 0x18;
    const LOAD_WORD: u8 = 0x61;
    const LOAD_BYTE: u8 = 0x71;
    const STORE_WORD: u8 = 0x63;
    const MOVE: u8 = 0xbf;
    const SET: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const ADD_REGISTER: u8 = 0x0f;
    const AND: u8 = 0x57;
    const SHIFT: u8 = 0x77;
    const SHIFT_BY_REGISTER: u8 = 0x7f;
    const IF_SAME: u8 = 0x15;
    const IF_OTHER: u8 = 0x55;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const MAP_FD: u8 = 1; // BPF_PSEUDO_MAP_FD

    let (ports, sockets) = (ports.as_raw_fd(), sockets.as_raw_fd());
    let next = To::Next;
    // code, destination, source, offset or label, immediate
    let steps: [(u8, u8, u8, i16, To, i32); 39] = [
        (MOVE, 6, 1, 0, next, 0), // r6: the context
        (LOAD_WORD, 0, 6, PROTOCOL, next, 0),
        (IF_OTHER, 0, 0, 0, To::Pass, libc::IPPROTO_TCP),
        (SET, 7, 0, 0, next, 0),
        (STORE_WORD, 10, 7, KEY, next, 0),
        (LOAD_MAP, 1, MAP_FD, 0, next, ports),
        (0, 0, 0, 0, next, 0),
        (MOVE, 2, 10, 0, next, 0),
        (ADD, 2, 0, 0, next, KEY as i32),
        (CALL, 0, 0, 0, next, LOOKUP),
        (IF_SAME, 0, 0, 0, To::Drop, 0),
        (LOAD_WORD, 1, 6, LOCAL_PORT, next, 0), // host byte order
        (MOVE, 2, 1, 0, next, 0),
        (SHIFT, 2, 0, 0, next, 3),
        (AND, 2, 0, 0, next, 8191),
        (ADD_REGISTER, 0, 2, 0, next, 0),
        (LOAD_BYTE, 0, 0, 0, next, 0),
        (AND, 1, 0, 0, next, 7),
        (SHIFT_BY_REGISTER, 0, 1, 0, next, 0),
        (AND, 0, 0, 0, next, 1),
        (IF_OTHER, 0, 0, 0, To::Pass, 0),
        (LOAD_WORD, 1, 6, FAMILY, next, 0),
        (IF_SAME, 1, 0, 1, next, libc::AF_INET),
        (SET, 7, 0, 0, next, 1),
        (STORE_WORD, 10, 7, KEY, next, 0),
        (LOAD_MAP, 1, MAP_FD, 0, next, sockets),
        (0, 0, 0, 0, next, 0),
        (MOVE, 2, 10, 0, next, 0),
        (ADD, 2, 0, 0, next, KEY as i32),
        (CALL, 0, 0, 0, next, LOOKUP),
        (IF_SAME, 0, 0, 0, To::Drop, 0),
        (MOVE, 7, 0, 0, next, 0), // r7: the socket, which has to be released
        (MOVE, 1, 6, 0, next, 0),
        (MOVE, 2, 7, 0, next, 0),
        (SET, 3, 0, 0, next, 0),
        (CALL, 0, 0, 0, next, ASSIGN),
        (MOVE, 6, 0, 0, next, 0),
        (MOVE, 1, 7, 0, next, 0),
        (CALL, 0, 0, 0, next, RELEASE),
    ];
    let ends = [
        (IF_OTHER, 6, 0, 2, next, 0), // not assigned: as Drop
        (SET, 0, 0, 0, next, 1),      // Pass: SK_PASS
        (EXIT, 0, 0, 0, next, 0),
        (SET, 0, 0, 0, next, 0), // Drop: SK_DROP
        (EXIT, 0, 0, 0, next, 0),
    ];
    let length = steps.len();
    let pass = length + 1;
    let all = steps.into_iter().chain(ends).enumerate();
    all.map(|(at, (code, destination, source, offset, to, immediate))| {
        let end = match to {
            To::Next => None,
            To::Pass => Some(pass),
            To::Drop => Some(pass + 2),
        };
        let jump = end.and_then(|end| i16::try_from(end - at - 1).ok());
        Instruction { code, registers: source << 4 | destination, offset: jump.unwrap_or(offset), immediate }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::{self, Kind};
    use crate::process::{Ended, fork_for_test};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    #[test]
    fn any_port_of_any_address_is_listened_at_but_those_that_are_left() {
        let child = fork_for_test(|| {
            namespaces::leave_for_new(Kind::Net).unwrap();
            crate::netlink::all_is_local().unwrap();
            let v4 = TcpListener::bind((crate::netlink::OWN_V4, 0)).unwrap();
            let v6 = TcpListener::bind((crate::netlink::OWN_V6, 0)).unwrap();
            let network = std::fs::File::open("/proc/self/ns/net").unwrap();
            let all = CatchAll::new(network.as_fd(), v4.as_fd(), Some(v6.as_fd())).unwrap();
            for (to, at) in [
                ("10.1.2.3:80", &v4),
                ("127.0.0.1:54321", &v4),
                ("[::1]:9", &v6),
                ("[2001:db8::7]:443", &v6),
                ("198.18.3.4:65535", &v4),
            ] {
                let to: SocketAddr = to.parse().unwrap();
                let _client = TcpStream::connect_timeout(&to, Duration::from_secs(2)).unwrap();
                let (server, _) = at.accept().unwrap();
                assert_eq!(server.local_addr().unwrap(), to);
            }
            let other = TcpListener::bind("127.0.0.1:9000").unwrap();
            all.leave(9000, true);
            let _client = TcpStream::connect("127.0.0.1:9000").unwrap();
            other.accept().unwrap();
            drop(other);
            assert!(TcpStream::connect("127.0.0.1:9000").is_err());
            all.leave(9000, false);
            let _client = TcpStream::connect("127.0.0.1:9000").unwrap();
            v4.accept().unwrap();
            drop(all);
            assert!(TcpStream::connect("127.0.0.1:80").is_err());
            0
        });
        assert_eq!(child.wait().unwrap(), Ended::Exited(0));
    }
}
