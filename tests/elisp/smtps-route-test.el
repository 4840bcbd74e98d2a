;;; smtps-route-test.el --- By which account a mail goes, shown before  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'message)
(require 'smtps)
(require 'smtps-send)
(require 'smtps-route)

(defvar smtps-route-test-accounts
  '(("work" :host "relay.example.org" :user "me%40" :from "me@example.org")
    ("home" :host "smtp.home.example" :from "@home.example")))

(defmacro smtps-route-test-with (accounts &rest body)
  "Evaluate BODY in a buffer that composes a mail, with ACCOUNTS."
  (declare (indent 1) (debug t))
  `(let ((smtps-accounts ,accounts)
         (smtps-mode t)
         (smtps-route--timer nil)
         (after-change-major-mode-hook '(smtps--compose))
         (smtps-warm-while-composing nil)
         (user-mail-address "me@example.org")
         (message-auto-save-directory nil))
     (save-window-excursion
       (unwind-protect
           (progn
             (message-mail "to@other-host.it" "Composed")
             (switch-to-buffer (current-buffer))
             ,@body)
         (cancel-timer smtps-route--timer)
         (set-buffer-modified-p nil)
         (kill-buffer)))))

(defun smtps-route-test-from (from)
  "Have FROM in the header; return what the header line shows then."
  (message-replace-header "From" from)
  (smtps-route--paused)
  header-line-format)

(ert-deftest smtps-route-test-follows-from ()
  (smtps-route-test-with smtps-route-test-accounts
    (should (equal (smtps-route-test-from "Me <me@example.org>")
                   "Goes by account work: relay.example.org, as me%%40"))
    (should (equal (smtps-route-test-from "ann@home.example")
                   "Goes by account home: smtp.home.example"))
    (should (equal (smtps-route-test-from "ann@elsewhere.example")
                   "None of the accounts is for mail from ann@elsewhere.example: \
put it into the :from of one."))
    ;; While it is typed, there is nothing to say.
    (should-not (smtps-route-test-from "\"Ann"))
    (smtps-route-test-from "me@example.org")
    (message-replace-header "X-Message-SMTP-Method" "smtp other.example 587 ann")
    (smtps-route--paused)
    (should (equal header-line-format "Goes by other.example, as ann"))
    ;; Once it has gone, where it went stands in the outbox.
    (setq smtps-send--entry "20261124T094720-vzyw6iasyo")
    (smtps-route--paused)
    (should-not header-line-format)))

(ert-deftest smtps-route-test-where-there-is-no-choice ()
  (smtps-route-test-with (last smtps-route-test-accounts)
    (should-not (smtps-route-test-from "ann@home.example"))))

(ert-deftest smtps-route-test-leaves-another-header-line-alone ()
  (smtps-route-test-with smtps-route-test-accounts
    (setq header-line-format "Mine")
    (should (equal (smtps-route-test-from "me@example.org") "Mine"))))

(ert-deftest smtps-route-test-ends ()
  "With no mail being composed any more, no timer is left."
  (smtps-route-test-with smtps-route-test-accounts
    (should (memq smtps-route--timer timer-idle-list))
    (let ((smtps-mode nil))
      (smtps-route--paused))
    (should-not smtps-route--timer)
    (smtps-route-show)))

(provide 'smtps-route-test)
;;; smtps-route-test.el ends here
