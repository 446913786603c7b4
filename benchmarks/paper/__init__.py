"""The paper's tables and figures as commands; README.md says how, and how to add one."""
