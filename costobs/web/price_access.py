"""Who may look at prices and exchange rates and decide about them, and who may propose other ones."""

from costobs.web.settings_access import letting, manages, sees_all

looking = letting(
    sees_all,
    "Prices and exchange rates count for every team. Administrators set them; finance looks at them and approves changes.",
)
managing = letting(
    manages,
    "Only administrators propose prices and load exchange rates. Finance looks at them and approves changes.",
)
