"""From installed to working, and back: what `onionmx setup` does.

`observe` looks at the machine, `plan` makes of that and of what is wished a list of stages (values, no I/O), `engine`
carries them out with a manifest written ahead, and `undo` takes them back. A stage changes the files of one program,
in marked blocks or whole files of our own, has the program's own checker look at them, and only then reloads it.
"""
