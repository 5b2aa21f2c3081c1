//! Links the module with libpam by the name that is there at run time, so that no development package is needed, and
//! makes a symbol that no library has an error here and not in sshd.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-l:libpam.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,pam_vestibule.so");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs,-z,now,-z,relro");
}
