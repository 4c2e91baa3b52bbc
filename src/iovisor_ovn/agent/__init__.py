# SPDX-License-Identifier: Apache-2.0
"""The agent as a process: options, pid file, log, control socket, main loop. It decides nothing."""

from iovisor_ovn.agent.process import run_agent

__all__ = ["run_agent"]
