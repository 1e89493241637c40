"""moto's server, and the reads that patchplane needs and moto lacks, told from what moto keeps.

What is made, changed and deleted is moto's own doing.
"""

import sys

from moto.core.responses import ActionResult
from moto.server import main
from moto.ssm.responses import SimpleSystemManagerResponse as Ssm


def get_patch_baseline(self):
    wanted = self._get_param("BaselineId")
    [found] = [b for b in self.ssm_backend.describe_patch_baselines(None) if wanted in (b.id, b.name)]
    baseline = found.to_json()
    registered = [g for g in self.ssm_backend.patch_groups.values() if wanted in g.associations.values()]
    return ActionResult({**baseline, "Name": found.name, "PatchGroups": [group.name for group in registered]})


def describe_patch_groups(self):
    known = {b.id: b.to_json() for b in self.ssm_backend.describe_patch_baselines(None)}
    mappings = [
        {"PatchGroup": group.name, "BaselineIdentity": known[baseline]}
        for group in self.ssm_backend.patch_groups.values()
        for baseline in group.associations.values()
        # moto fills a group with the defaults of all systems.
        if baseline in known
    ]
    return ActionResult({"Mappings": mappings})


def get_maintenance_window_task(self):
    window = self.ssm_backend.get_maintenance_window(self._get_param("WindowId"))
    return ActionResult(window.tasks[self._get_param("WindowTaskId")].to_json())


def nothing(member):
    return lambda self: ActionResult({member: []})


for read in (get_patch_baseline, describe_patch_groups, get_maintenance_window_task):
    setattr(Ssm, read.__name__, read)
# No agent has ever registered, so that nothing is known of any.
for name, member in [
    ("describe_instance_information", "InstanceInformationList"),
    ("describe_instance_patch_states", "InstancePatchStates"),
    ("list_associations", "Associations"),
    ("describe_maintenance_window_executions", "WindowExecutions"),
]:
    setattr(Ssm, name, nothing(member))

main(sys.argv[1:])
