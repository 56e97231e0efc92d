// unshare(2) in the parent, then std::process::Command: the child is born in the new namespaces.
use std::env;
use std::ffi::CString;
use std::os::raw::{c_char, c_int, c_ulong, c_void};
use std::process::Command;
use std::ptr;

extern "C" {
    fn unshare(flags: c_int) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn sethostname(name: *const c_char, len: usize) -> c_int;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
}

const CLONE_NEWNS: c_int = 0x0002_0000;
const CLONE_NEWUTS: c_int = 0x0400_0000;
const CLONE_NEWIPC: c_int = 0x0800_0000;
const CLONE_NEWPID: c_int = 0x2000_0000;

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn main() {
    let args: Vec<String> = env::args().collect();
    if args.len() < 4 {
        eprintln!("usage: {} run ROOT COMMAND", args[0]);
        std::process::exit(1);
    }
    unsafe {
        if unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID) != 0 {
            panic!("unshare: {}", std::io::Error::last_os_error());
        }
        sethostname(text("container").as_ptr(), 9);
        if chroot(text(&args[2]).as_ptr()) != 0 {
            panic!("chroot: {}", std::io::Error::last_os_error());
        }
        env::set_current_dir("/").unwrap();
        let proc_name = text("proc");
        mount(
            proc_name.as_ptr(),
            text("/proc").as_ptr(),
            proc_name.as_ptr(),
            0,
            ptr::null(),
        );
    }
    let status = Command::new(&args[3]).args(&args[4..]).status().expect("failed to start");
    std::process::exit(status.code().unwrap());
}
