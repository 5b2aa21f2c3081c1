//! The PAM module: moves a session into its target's network namespace, so that its forwards end there.
//!
//! sshd's privileged process opens the PAM session before it forks the process that connects for `-L` and `-D`, listens
//! for `-R` and runs the forced command; what it does to its namespaces is theirs too. The connection that the client
//! came by lives on, for a socket stays in the namespace that it was made in.
//!
//! It is a guest in a process of root's that serves everybody: so it does little, keeps nothing, starts no thread,
//! reads no store and parses nothing that a user wrote. `enter --network` does the work; here its answer, an open
//! namespace, is checked and used.
//!
//! | who | then |
//! |---|---|
//! | a user who has not the shared uid of the login names | `PAM_IGNORE`, nothing was done |
//! | a target in a network namespace of its own | the session is moved there |
//! | a target that has none, or that is not there now | the session is moved into an empty namespace: forwards end nowhere |
//! | a target that is entered by TCP | nothing is moved; its forwards go to one address only |
//! | whatever fails | `PAM_SESSION_ERR`, a line in the log, and the empty namespace, whatever the stack makes of the error |
//!
//! Layers: `border` is what libpam calls and what is asked of it, the only unsafe code; `session` decides; `helper`
//! talks to `enter`; `presence` lets `keys-lookup` know that the module was loaded.

#[cfg(panic = "abort")]
compile_error!("a panic must not end sshd: build with panic=unwind");

mod border;
mod helper;
mod presence;
mod session;
