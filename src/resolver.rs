//! Restricts a static binary to the name services that are linked into it.
//!
//! glibc resolves host names with the services in `/etc/nsswitch.conf` and loads those other than
//! `files` and `dns` from the host. In a static binary, a module built for another version of glibc
//! crashes the process, and many distributions list such modules: `resolve`, `myhostname`.

/// Resolves host names with `/etc/hosts` and DNS only. Call it first in `main`, before any thread
/// is started, and only if glibc is linked statically: otherwise it would disable the host's other
/// name services. Does nothing with another C library.
pub fn use_builtin_services() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the libc crate does not declare this function")]
        // SAFETY: this is the declaration in glibc's nss.h.
        unsafe extern "C" {
            fn __nss_configure_lookup(
                database: *const libc::c_char,
                services: *const libc::c_char,
            ) -> libc::c_int;
        }

        #[expect(unsafe_code, reason = "glibc offers no safe interface")]
        // SAFETY: both arguments are NUL-terminated and static, and no other thread runs yet. On
        // failure, the setting is unchanged.
        unsafe {
            __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
        }
    }
}
