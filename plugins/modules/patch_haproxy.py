#!/usr/bin/python
"""Ansible module: a server of an HAProxy backend."""

DOCUMENTATION = r"""
module: patch_haproxy
short_description: Take a server of an HAProxy backend out of service and back
description:
  - Speaks with HAProxy's runtime API, on the machine on which HAProxy runs. What it sets lasts until HAProxy starts
    anew, unless that loads a file of server states.
options:
  socket:
    description: The stats socket, of level admin.
    type: path
    default: /run/haproxy/admin.sock
  backend:
    description: The backend.
    type: str
    required: true
  server:
    description: The server in it.
    type: str
    required: true
  state:
    description:
      - V(drained) lets no new sessions come. It fails where the server is in maintenance or down, and where less than
        O(others) other servers would be left.
      - V(idle) waits until a drained server has no session any more. V(ready) lets sessions come again.
      - V(up) waits until the server serves.
    type: str
    choices: [drained, idle, ready, up]
    required: true
  others:
    description: How many other servers of the backend have to serve before this one may leave.
    type: int
    default: 1
  limit:
    description: Seconds to wait.
    type: int
    default: 300
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Let no new sessions come to web1
  patch_haproxy:
    backend: shop
    server: web1
    state: drained
  delegate_to: lb1
"""

RETURN = r"""
status:
  description: The server's status afterwards, as HAProxy names it.
  type: str
  returned: success
sessions:
  description: How many sessions it has.
  type: int
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.patch_haproxy import Balancer, BalancerError, asking


def act(balancer, options, check_mode):
    name, limit, changed = options["server"], options["limit"], False
    if check_mode:
        balancer.server(name)
    elif options["state"] == "drained":
        changed = balancer.drain(name, options["others"])
    elif options["state"] == "idle":
        balancer.wait_until_idle(name, limit)
    elif options["state"] == "ready":
        changed = balancer.ready(name)
    else:
        balancer.wait_until_up(name, limit)
    server = balancer.server(name)
    return {"changed": changed, "status": server.status, "sessions": server.sessions}


def main():
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "default": "/run/haproxy/admin.sock"},
            "backend": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["drained", "idle", "ready", "up"]},
            "others": {"type": "int", "default": 1},
            "limit": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        result = act(Balancer(asking(options["socket"]), options["backend"]), options, module.check_mode)
    except BalancerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
