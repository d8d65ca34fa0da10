"""A run's islands on other machines: what travels, who computes, and how the steps come back.

    job.py         a run as data: its text, the files that it names, its call
    worker.py      the process that holds the models: takes a job, then tasks; gives steps as JSON
    messages.py    steps, errors and counts as JSON
    engines.py     the models as the run's own process knows them: marks, and tokens seen so far
    islands.py     the workers of a run: which are ready, and with the same models
    tasks.py       hands islands to workers and gives their steps (an IslandRunner)
    workers.py     what carries tasks and messages: the interface
    place.py       the workers that a word names: `--on ray`
    on_ray.py      workers that are actors on Ray

Nothing here is imported by `fkdsl check`; Ray itself is imported when its workers are started.
"""
