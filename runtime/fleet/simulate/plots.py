"""A simulated day as a picture: cars and waiting jobs by hour, how long jobs took, and where the energy went."""

from __future__ import annotations

from runtime.fleet.simulate.day import Report
from runtime.pictures import figure, png


def plot(report: Report) -> bytes:
    """Returns a PNG. Raises NoPictures."""
    made = figure(11, 8)
    capacity, queue, took, energy = made.subplots(2, 2).flat
    hours = range(24)
    capacity.fill_between(hours, [each / 1e6 for each in report.open_cars], color="#bbccee", label="gates open")
    capacity.plot(hours, [each / 1e6 for each in report.running], color="#222255", label="at work")
    capacity.set(title="cars", xlabel="hour (eastern clock)", ylabel="million", ylim=(0, None))
    capacity.legend(frameon=False)
    queue.bar(hours, report.queued, color="#cc6677")
    queue.set(title="jobs that wait", xlabel="hour (eastern clock)")
    names = ("p50", "p90", "p99")
    took.bar(names, [report.took_s.get(name, 0) for name in names], color="#44aa99", label="from submission to done")
    took.bar(names, [report.late_s.get(name, 0) for name in names], color="#882255", label="of it not work")
    took.set(title=f"a job's time; {report.yields_per_job:.3f} changes of car a job", ylabel="s", yscale="symlog")
    took.legend(frameon=False)
    energy.barh(list(report.energy_kWh), [each / 1e3 for each in report.energy_kWh.values()], color="#ddcc77")
    energy.set(title="energy of the day", xlabel="MWh")
    made.suptitle(
        f"{report.cars:,} cars, {report.jobs / 1e6:.1f} million jobs: {100 * report.open_share:.0f} % open, "
        f"{report.servers.servers} servers by {report.servers.limit}"
    )
    return png(made)
