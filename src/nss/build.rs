//! Gives the module the name that glibc asks for: `libnss_SERVICE.so.2`, where 2 is the version of the NSS interface
//! (glibc manual, "NSS Module Names").

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnss_vestibule.so.2");
    // A symbol that no library has is an error here, not in every program that looks a user up.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs,-z,now,-z,relro");
}
