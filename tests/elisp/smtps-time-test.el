;;; smtps-time-test.el --- Times that are typed  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-time)

(defmacro smtps-time-test-in-rome (&rest body)
  "Evaluate BODY in a time zone whose clocks are put forward and back."
  (declare (indent 0) (debug t))
  `(unwind-protect
       (progn (set-time-zone-rule "CET-1CEST,M3.5.0,M10.5.0/3") ,@body)
     (set-time-zone-rule nil)))

(defun smtps-time-test-parse (text now)
  "Return as %F %R the time that TEXT tells at NOW, told so, too; nil if none."
  (let ((time (smtps-time-parse
               text (encode-time (parse-time-string (concat now ":00"))))))
    (and time (format-time-string "%F %R" time))))

(ert-deftest smtps-time-test-what-is-understood ()
  (smtps-time-test-in-rome
    ;; A Tuesday.
    (pcase-dolist (`(,text ,expected)
                   '(("14:30" "2026-11-24 14:30")
                     (" 9:00 " "2026-11-25 09:00")
                     ("12:00" "2026-11-25 12:00")
                     ("today 23:00" "2026-11-24 23:00")
                     ("today 9:00" "2026-11-24 09:00")
                     ("Tomorrow 23:00" "2026-11-25 23:00")
                     ("wed 9:00" "2026-11-25 09:00")
                     ("Monday 09:00" "2026-11-30 09:00")
                     ("2026-12-01 14:30" "2026-12-01 14:30")
                     ("2026-12-01T14:30" "2026-12-01 14:30")
                     ("2020-02-29 14:30" "2020-02-29 14:30")
                     ("+90m" "2026-11-24 13:30")
                     ("+2h" "2026-11-24 14:00")
                     ("+3d" "2026-11-27 12:00")
                     ("+1w1d2h" "2026-12-02 14:00")))
      (should (equal (list text (smtps-time-test-parse text "2026-11-24 12:00"))
                     (list text expected))))))

(ert-deftest smtps-time-test-what-is-not-sure ()
  "What could be meant for another time, or for none, is refused."
  (smtps-time-test-in-rome
    (dolist (text '("" " " "in 2 hours" "yesterday" "tomorrow" "noon" "9" "9pm" "24:00"
                    "12:60" "tomorrow at 9:00" "9:00 tomorrow" "2h" "+2" "+2x" "-2h"
                    "2026-12-01" "2026-12-01 9" "2026-11-31 9:00"
                    "2026-13-01 9:00" "2026-00-10 9:00" "1/12 9:00" "12-01 9:00"
                    ;; In a week, or today?
                    "tue 9:00" "Tuesday 18:00" "tu 9:00" "moonday 9:00"
                    "2026-12-01T14:30Z" "2026-12-01 14:30+02:00" "9:00\n10:00"))
      (should-not (and (smtps-time-test-parse text "2026-11-24 12:00") text)))))

(ert-deftest smtps-time-test-clocks-that-change ()
  (smtps-time-test-in-rome
    (should-not (smtps-time-test-parse "2027-03-28 2:30" "2027-03-27 12:00"))
    (should-not (smtps-time-test-parse "tomorrow 2:30" "2027-03-27 12:00"))
    (should (equal (smtps-time-test-parse "+1d" "2027-03-27 12:00")
                   "2027-03-28 12:00"))
    (should (equal (smtps-time-test-parse "+2h" "2027-03-28 01:30")
                   "2027-03-28 04:30"))))

(ert-deftest smtps-time-test-in-words ()
  (smtps-time-test-in-rome
    (let ((now (float-time (encode-time '(0 0 21 24 11 2026 nil -1 nil)))))
      (pcase-dolist (`(,seconds ,words)
                     `((,(* 26 3600) "in 1 day 2 hours, on Wed 25 Nov 23:00")
                       (600 "in 10 minutes, on Tue 24 Nov 21:10")
                       (3660 "in 1 hour 1 minute, on Tue 24 Nov 22:01")
                       (20 "in 1 minute, on Tue 24 Nov 21:00")
                       (,(* 60 86400) "in 60 days, on Sat 23 Jan 2027 21:00")))
        (should (equal (smtps-time-in-words (+ now seconds) now) words))))))

(ert-deftest smtps-time-test-shown-while-it-is-typed ()
  (should (string-match-p "\\`  (in 1 day, on .+)\\'"
                          (smtps-time--understood "+1d")))
  (should (equal (smtps-time--understood "in 2 hours") "  (no time)"))
  (should (equal (smtps-time--understood "2001-01-01 9:00") "  (in the past)"))
  (should (equal (smtps-time--understood "") "")))

(provide 'smtps-time-test)
;;; smtps-time-test.el ends here
