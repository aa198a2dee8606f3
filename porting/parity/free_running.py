"""The third level of parity: the port feeds itself. Finds drift, and names the first frame that is worse than noise."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from porting.parity.contact_sheet import ContactSheet
from porting.profile import ParityBudget
from porting.program import Program
from porting.record import FreeRunning
from porting.rollout import Rollout
from porting.trace.data import Trace, TracedSession
from porting.trace.metrics import psnr_db, ssim
from porting.trace.playback import split_frames

Curve = npt.NDArray[np.float64]


def measure_free_running(
    program: Program, rollout: Rollout, trace: Trace, budget: ParityBudget, out_dir: Path, bundle_folder: str
) -> FreeRunning | None:
    """PSNR and SSIM of every frame of the port's own rollout against gold's, worst over the sessions, and the pictures.

    Args:
        program: what the rollout runs.
        rollout: the port.
        trace: sessions with gold's frames and the envelope of eager's noise.
        budget: how many frames, and what they are held against for `first_failing_frame`.
        out_dir: gets the three sheets of frames.
        bundle_folder: `out_dir` as the record names it.

    Returns:
        None where there is nothing to run.
    """
    frames = min((min(budget.free_running_frames, len(s.frames)) for s in trace.sessions), default=0)
    if frames == 0 or any(0 in s.envelope_psnr_db.shape for s in trace.sessions):
        return None
    sheet = ContactSheet(rows=len(trace.sessions), columns=frames)
    curves = [_run_session(program, rollout, session, frames, row, sheet) for row, session in enumerate(trace.sessions)]
    # numpy's min hands nan on: one frame that is not finite in one session is not finite at all.
    psnr, similarity = np.min([c[0] for c in curves], axis=0), np.min([c[1] for c in curves], axis=0)
    envelope_psnr = make_envelope([s.envelope_psnr_db[:, :frames] for s in trace.sessions])
    envelope_ssim = make_envelope([s.envelope_ssim[:, :frames] for s in trace.sessions])
    gain = sheet.write(out_dir)
    columns = [tuple(map(float, curve)) for curve in (psnr, similarity, envelope_psnr, envelope_ssim)]
    failing = (i for i, frame in enumerate(zip(*columns, strict=True)) if not budget.holds_frame(*frame))
    return FreeRunning(
        psnr_db=columns[0],
        ssim=columns[1],
        envelope_psnr_db=columns[2],
        envelope_ssim=columns[3],
        envelope_members=min(len(s.envelope_psnr_db) for s in trace.sessions),
        sessions=len(trace.sessions),
        first_failing_frame=next(failing, None),
        reference_frames=bundle_folder,
        difference_gain=gain,
    )


def make_envelope(curves: list[Curve]) -> Curve:
    """(frames,): the lowest value up to and including each frame, over all members and sessions (members, frames)."""
    lowest: Curve = np.minimum.accumulate(np.concatenate(curves).min(axis=0))
    return lowest


def _run_session(
    program: Program, rollout: Rollout, session: TracedSession, frames: int, row: int, sheet: ContactSheet
) -> tuple[Curve, Curve]:
    """PSNR and SSIM per frame of one session; its frames go onto the sheet."""
    rollout.open(session.session_inputs)
    psnr, similarity = [], []
    for column, inputs in zip(range(frames), split_frames(session.frame_inputs, frames), strict=False):
        made = rollout.step(inputs)
        gold = session.frames[column].outputs[program.frame_value]
        psnr.append(psnr_db(made, gold))
        similarity.append(ssim(made, gold))
        sheet.add(row, column, gold, made)
    return np.array(psnr), np.array(similarity)
