//! The domain of vestibule, without effects where it can be.
//!
//! A login is decided here and nowhere else: [`login`] names and [`fingerprint`]s come in, the [`store`] says what is
//! known of them, [`decide`] says what that means, and [`authorized_keys`] writes the line that sshd gets. Programs
//! stand around this crate: they read arguments, call it, and print. It opens no socket.

#![forbid(unsafe_code)]

pub mod authority;
pub mod authorized_keys;
pub mod certificate;
pub mod config;
pub mod decide;
pub mod decision;
pub mod engine_address;
pub mod exit;
pub mod fingerprint;
pub mod may_enter;
pub mod messages;
pub mod options;
pub mod pam_stack;
pub mod paths;
pub mod policy;
pub mod proof;
pub mod public_key;
pub mod secret;
pub mod still;
pub mod store;
pub mod target;
pub mod tenant_file;
pub mod used;
pub mod visit;
pub mod watch;
pub mod workspace;
pub mod xauthority;

pub use vestibule_names as names;
