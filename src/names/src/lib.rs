//! What a login name is, and whether one exists.
//!
//! This room stands first in the way of a login: the NSS module asks it in every process that looks a user up, and
//! the programs behind sshd read the same grammar. So it is small, has no effects but reading (and, for the store's
//! writer, writing) one file, and knows nothing of the store.
//!
//! - [`login`]: the grammar of login names, target names and account names.
//! - [`index`]: the file that answers "is there such a name?" in constant time, whatever the number of names.
//! - [`shared`]: the uid and gid that every login name has, for the modules that live in other programs.

#![forbid(unsafe_code)]

mod error;
pub mod index;
pub mod login;
mod name;
mod own;
pub mod shared;
