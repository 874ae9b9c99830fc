"""One process in another's place: `successor` and `departure` in the old one, `takeover` in the new one. `handover`
describes what they say to one another."""
