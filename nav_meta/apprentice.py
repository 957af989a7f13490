"""Learning from a teacher: without reinforcement learning, at several times its speed.

A trained agent plays. Another, with the same encoder and a memory of its own, reads along and learns to do as it does
(Rusu et al. 2016, "Policy distillation") and to answer what the auxiliary head is asked, which can be more than its
teacher was. The encoder stays as it is, so what it says of a picture is worked out once, however often that is learnt
from.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.agent import Agent, Output, State
from nav_meta import losses
from nav_meta.config import LearnerConfig
from nav_meta.tasks import Task
from nav_meta.worker import Worker


class Apprentice(Worker):
    """A worker in whose environments a teacher plays; a rollout is a whole episode, from empty memories."""

    def __init__(
        self,
        agent: Agent,
        task: Task,
        config: LearnerConfig,
        seed: int,
        shared: Sequence[Tensor] = (),
        *,
        teacher: Agent,
    ) -> None:
        """Begin with empty memory.

        Args:
            agent: who learns; it has the teacher's encoder.
            task: environments.
            config: how to learn.
            seed: of the actions drawn.
            shared: where to leave a copy of the gradients, for another process.
            teacher: who plays; on the task's device.
        """
        super().__init__(agent, task, replace(config, freeze_encoder=True), seed, shared)
        self.teacher = teacher
        self.memory, self._before = (teacher.initial_state(task.batch) for _ in range(2))

    def _read(self, now: slice, first: Tensor | None, memory: State) -> tuple[Output, State]:
        tape = self._tape
        return self.teacher.unroll_memory(
            self._encode(now), tape.prev_action[now], tape.prev_reward[now], first, memory
        )

    def _find_gradient(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Do `gradient`; of its numbers it needs the last, the counts."""
        config, rollout, agent = self.config, self.rollout, self.agent
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            output, _ = agent.unroll_memory(
                self._features_of(rows),
                rollout.prev_action[:, rows],
                rollout.prev_reward[:, rows],
                rollout.first[rows],
                agent.initial_state(len(rows)),
                rollout.target[:, rows],
            )
        own, wanted = (torch.log_softmax(part, -1) for part in (output.logits, self._tape.logits[:, rows]))
        policy = (wanted.exp() * (wanted - own)).sum(-1).mean()  # KL(teacher || agent), nats
        value = losses.value_loss(output.value, rollout.value[:-1, rows])
        hint = losses.hint_loss(output.hint, rollout.target[:, rows], rollout.known[:, rows], numbers[3:])
        loss = policy + config.value * value + config.hint * hint
        self._backward(loss)
        entropy = -(own.exp() * own).sum(-1).mean()
        return torch.stack((loss, policy, value, hint, entropy, policy, torch.zeros_like(loss))).detach()
