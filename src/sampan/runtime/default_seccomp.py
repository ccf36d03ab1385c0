"""Docker's default seccomp profile as facts: which calls, under which capability or architecture. Lean.

Source: moby profiles/seccomp (security.md of the reference, section 2): 361 calls always, the rest by
condition. The kernel is at least 5.15 here, so its conditions on the kernel's version all hold.
"""

from __future__ import annotations

from sampan.spec.runtime import LinuxSeccomp, SeccompArg, SeccompRule

_ALWAYS = """
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod
    chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat
    dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
    fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
    futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid
    geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid
    getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat
    llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create
    memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
    newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
    set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer
    setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
    sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
    statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes
    vfork vmsplice wait4 waitid waitpid write writev
"""
_PTRACE = "process_vm_readv process_vm_writev ptrace"
# No AF_ALG (38, CVE-2026-31431) and no AF_VSOCK (40). socketcall of 32-bit x86 still reaches both: a filter
# cannot see through its pointer.
_SOCKET_CONDITIONS = (("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40))
# sys/personality.h: PER_LINUX, PER_LINUX32, UNAME26 and both, and 0xffffffff, which only asks.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: linux/sched.h.
_NAMESPACE_FLAGS = 0x7E020000

_BY_CAPABILITY = (
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open "
        "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", f"kcmp pidfd_getfd process_madvise {_PTRACE}"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
)
# uname -m → (architectures that one kernel runs, native first; calls of that family alone)
_X86 = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
_ARM = ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")
_ARM_CALLS = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
_S390_CALLS = "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"
_BY_MACHINE = {
    "x86_64": (_X86, "arch_prctl modify_ldt"),
    "i686": (("SCMP_ARCH_X86",), "modify_ldt"),
    "aarch64": (_ARM, _ARM_CALLS),
    "armv7l": (("SCMP_ARCH_ARM",), _ARM_CALLS),
    "ppc64le": (("SCMP_ARCH_PPC64LE",), "sync_file_range2 swapcontext"),
    "s390x": (("SCMP_ARCH_S390X", "SCMP_ARCH_S390"), _S390_CALLS),
    "riscv64": (("SCMP_ARCH_RISCV64",), "riscv_flush_icache"),
    "loongarch64": (("SCMP_ARCH_LOONGARCH64",), ""),
    "mips64": (("SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"), ""),
}
_CLONE_FLAGS_ARGUMENT = {"s390x": 1}  # elsewhere the first


def default_profile(caps: frozenset[str], machine: str) -> LinuxSeccomp:
    """Return the profile with its conditions resolved: caps are the container's bounding set."""
    architectures, own_calls = _BY_MACHINE.get(machine, ((), ""))
    rules = [_allow(_ALWAYS), _allow(_PTRACE)]
    rules += [_allow("socket", _condition(value, op)) for op, value in _SOCKET_CONDITIONS]
    rules += [_allow("personality", _condition(value, "SCMP_CMP_EQ")) for value in _PERSONALITIES]
    if own_calls:
        rules.append(_allow(own_calls))
    rules += [_allow(names) for capability, names in _BY_CAPABILITY if capability in caps]
    if "CAP_SYS_ADMIN" not in caps:
        argument = _CLONE_FLAGS_ARGUMENT.get(machine, 0)
        # The mask is the value, and what must be left of the flags, nothing, the second value.
        no_namespaces = SeccompArg(index=argument, value=_NAMESPACE_FLAGS, op="SCMP_CMP_MASKED_EQ")
        rules.append(_allow("clone", no_namespaces))
        # clone3's flags lie behind a pointer; libc takes ENOSYS as the word to use clone.
        rules.append(SeccompRule(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=38))
    return LinuxSeccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=1,
        architectures=architectures,
        syscalls=tuple(rules),
    )


def _allow(names: str, *args: SeccompArg) -> SeccompRule:
    return SeccompRule(names=tuple(names.split()), action="SCMP_ACT_ALLOW", args=args)


def _condition(value: int, op: str) -> SeccompArg:
    return SeccompArg(index=0, value=value, op=op)
