;;; life.el --- An Emacs that sends mails until it is killed  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; emacs -Q --batch -L ELISP -l life.el OUTBOX PORT DIRECTORY SECONDS
;; ADDRESSES HELPER..., where ADDRESSES are divided by commas.  To each a
;; mail is sent, as by C-c C-c; once that has returned, the address is
;; written to the file promised in DIRECTORY, or to the file denied there
;; if it was refused.  Then it waits, at most SECONDS, until nothing is
;; under way.

;;; Code:

(require 'message)
(require 'smtps-send)
(require 'smtps-helper)

(setq smtps-outbox-directory (pop command-line-args-left)
      smtps-accounts `(("crash" :host "127.0.0.1" :tls none
                        :port ,(string-to-number (pop command-line-args-left)))))

(let* ((directory (pop command-line-args-left))
       (deadline (time-add nil (string-to-number (pop command-line-args-left))))
       (addresses (split-string (pop command-line-args-left) "," t))
       (smtps-helper-command command-line-args-left)
       ;; In batch each mail's fate would be waited for.
       (noninteractive nil)
       (auth-sources nil)
       (user-full-name "Me")
       (user-mail-address "a@crash.test")
       (message-send-mail-function #'smtps-send-it)
       (message-auto-save-directory nil)
       (message-confirm-send nil)
       (message-signature nil)
       (inhibit-message t)
       (kill-emacs-query-functions nil))
  (setq command-line-args-left nil)
  (princ "ready\n" #'external-debugging-output)
  (smtps-send-queued t)
  (dolist (address addresses)
    (message-mail address "x")
    (message-goto-body)
    (insert "Text.\n")
    (let ((answer "promised"))
      (condition-case problem
          (message-send)
        (smtps-error
         (setq answer "denied")
         (princ (format "%s\n" (error-message-string problem))
                #'external-debugging-output)))
      (write-region (concat address "\n") nil
                    (expand-file-name answer directory) t 'silent))
    (let ((kill-buffer-query-functions nil))
      (set-buffer-modified-p nil)
      (kill-buffer))
    (accept-process-output nil 0.01))
  (while (and (smtps-outbox-entries '(queue active))
              (time-less-p nil deadline))
    (accept-process-output nil 0.02))
  (smtps-helper-stop))

(kill-emacs 0)

;;; life.el ends here
