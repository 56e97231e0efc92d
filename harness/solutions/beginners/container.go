// The container of many talks: SysProcAttr with flags, and the program started once more inside.
package main

import (
	"os"
	"os/exec"
	"syscall"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	switch os.Args[1] {
	case "run":
		cmd := exec.Command("/proc/self/exe", append([]string{"child"}, os.Args[2:]...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:   syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
			Unshareflags: syscall.CLONE_NEWNS,
		}
		must(cmd.Run())
	case "child":
		must(syscall.Sethostname([]byte("container")))
		must(syscall.Chroot(os.Args[2]))
		must(os.Chdir("/"))
		must(syscall.Mount("proc", "proc", "proc", 0, ""))
		cmd := exec.Command(os.Args[3], os.Args[4:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		must(cmd.Run())
		must(syscall.Unmount("proc", 0))
	default:
		panic("run ROOT COMMAND")
	}
}
