//! One forwarded connection: sshd's socket, and the channel of the second SSH connection that it goes through.
//!
//! The master reads sshd's socket itself. What it writes goes through a pipe and is moved from there to the socket by this
//! process, which so learns that the other machine has ended its half: the master, which has two descriptors of one
//! socket, would close one of them and tell nobody.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use vestibule_sys::{fds, process, splice};

use super::mux::{Mux, Said};

/// What is watched of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Control,
    Pipe,
    Socket,
}

impl Part {
    pub(super) const ALL: [Part; 3] = [Part::Control, Part::Pipe, Part::Socket];
}

/// A connection that goes through the master.
pub(super) struct Flow {
    socket: TcpStream,
    /// What the master writes; none when that is over.
    pipe: Option<OwnedFd>,
    /// The request; none when the master is done with it.
    mux: Option<Mux>,
    opened: bool,
    /// The socket is full, and watched in place of the pipe.
    full: bool,
    token: u64,
}

impl Flow {
    /// Has the master carry `socket` to `host` and `port`. `token` is the flow's for `epoll`; the parts' are the ones behind it.
    ///
    /// # Errors
    /// As [`Mux::connect`]: then there is no flow, and the socket comes back.
    pub(super) fn start(
        epoll: &Epoll,
        token: u64,
        control: &str,
        socket: TcpStream,
        (host, port): (&str, u16),
    ) -> Result<Self, (io::Error, TcpStream)> {
        let ask = || -> io::Result<(Mux, OwnedFd)> {
            let mux = Mux::connect(control)?;
            let (reader, writer) = process::pipe()?;
            fds::set_nonblocking(reader.as_fd(), true)?;
            mux.forward(host, port, socket.as_fd(), writer.as_fd())?;
            epoll.add(&mux, event(EpollFlags::EPOLLIN, token, Part::Control))?;
            epoll.add(&reader, event(EpollFlags::EPOLLIN, token, Part::Pipe))?;
            Ok((mux, reader))
        };
        match ask() {
            Ok((mux, pipe)) => {
                Ok(Flow { socket, pipe: Some(pipe), mux: Some(mux), opened: false, full: false, token })
            }
            Err(e) => Err((e, socket)),
        }
    }

    /// Something is to be done for a part. Says whether the flow is over.
    pub(super) fn serve(&mut self, epoll: &Epoll, part: Part) -> bool {
        match part {
            Part::Control => self.hear(epoll),
            Part::Pipe => self.carry(epoll),
            Part::Socket => {
                self.unwatch_socket(epoll);
                self.watch_pipe(epoll);
                self.carry(epoll);
            }
        }
        let over = self.mux.is_none() && self.pipe.is_none();
        if over {
            self.unwatch_socket(epoll);
        }
        over
    }

    fn hear(&mut self, epoll: &Epoll) {
        let Some(mux) = &mut self.mux else { return };
        match mux.hear() {
            Said::Nothing => {}
            Said::Opened => self.opened = true,
            Said::Refused | Said::Ended => {
                let _ = epoll.delete(&*mux);
                self.mux = None;
                if !self.opened {
                    // What nobody listens for is refused, as far as that can still be said.
                    refuse(&self.socket);
                    self.close_pipe(epoll);
                }
            }
        }
    }

    /// Moves on what the master wrote.
    fn carry(&mut self, epoll: &Epoll) {
        let Some(pipe) = &self.pipe else { return };
        match splice::splice(pipe.as_fd(), self.socket.as_fd()) {
            Ok(0) => {
                let _ = self.socket.shutdown(Shutdown::Write);
                self.close_pipe(epoll);
            }
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // There is something in the pipe, so it is the socket that has no room.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                if !self.full {
                    let _ = epoll.delete(pipe);
                    self.full = true;
                    let _ = epoll.add(&self.socket, event(EpollFlags::EPOLLOUT, self.token, Part::Socket));
                }
            }
            // sshd has closed it. The master notices when it writes.
            Err(_) => self.close_pipe(epoll),
        }
    }

    fn close_pipe(&mut self, epoll: &Epoll) {
        if let Some(pipe) = self.pipe.take() {
            let _ = epoll.delete(&pipe);
        }
        self.unwatch_socket(epoll);
    }

    fn unwatch_socket(&mut self, epoll: &Epoll) {
        if self.full {
            // The master has the same socket, so closing it here would not do.
            let _ = epoll.delete(&self.socket);
            self.full = false;
        }
    }

    fn watch_pipe(&mut self, epoll: &Epoll) {
        if let Some(pipe) = &self.pipe {
            let _ = epoll.add(pipe, event(EpollFlags::EPOLLIN, self.token, Part::Pipe));
        }
    }
}

fn event(flags: EpollFlags, token: u64, part: Part) -> EpollEvent {
    let place = Part::ALL.iter().position(|known| *known == part).unwrap_or(0);
    EpollEvent::new(flags, token + u64::try_from(place).unwrap_or(0))
}

/// Ends a connection as one that was refused ends.
pub(super) fn refuse(socket: &TcpStream) {
    let _ = splice::reset_when_closed(socket.as_fd());
}
