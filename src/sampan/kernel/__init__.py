"""Every system call, netlink message, cgroup file and ioctl, as typed functions. Lean.

Knows nothing of containers; raises OSError with errno and path.
"""
